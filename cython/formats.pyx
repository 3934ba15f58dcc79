"""What files of other formats need at full speed: TFRecord's frames, and where the records of a CSV file begin."""
import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy
from libcpp.vector cimport vector

cdef extern from "core/bits.h" namespace "gridflow" nogil:
    size_t CountByte(const uint8_t*, size_t, uint8_t)


cdef extern from "core/checksum.h" namespace "gridflow" nogil:
    uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes)

# A TFRecord frame: uint64 length, its checksum, the record, its checksum; all little endian.
cdef enum:
    HEAD = 12
    TAIL = 4


cdef inline uint32_t masked_crc(const uint8_t* data, size_t size) noexcept nogil:
    """TFRecord's checksum: a CRC-32C, rotated, plus a constant."""
    cdef uint32_t crc = Crc32c(0, data, size)
    return ((crc >> 15) | (crc << 17)) + <uint32_t>0xA282EAD8


cdef inline uint32_t load32(const uint8_t* data) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, data, 4)
    return value


def unframe(const uint8_t[::1] data):
    """Cuts TFRecord frames.

    Returns:
        The records of all complete frames; how many bytes these are; how many the next frame has (0: not known yet,
        -1: a checksum is wrong).
    """
    cdef size_t size = data.shape[0], at = 0
    cdef uint64_t length
    cdef const uint8_t* begin = &data[0] if size else NULL
    records = []
    while size - at >= HEAD:
        memcpy(&length, begin + at, 8)
        if masked_crc(begin + at, 8) != load32(begin + at + 8) or length > (<uint64_t>1 << 40):
            return records, at, -1
        if length + HEAD + TAIL > size - at:
            return records, at, length + HEAD + TAIL
        if masked_crc(begin + at + HEAD, length) != load32(begin + at + HEAD + length):
            return records, at, -1
        records.append((<const char*>begin + at + HEAD)[:length])
        at += HEAD + length + TAIL
    return records, at, 0


def frame(list records):
    """Serialized records as TFRecord frames, one after the other."""
    cdef size_t size = 0, at = 0
    cdef uint64_t length
    cdef uint32_t crc
    cdef bytes record
    for record in records:
        size += len(record) + HEAD + TAIL
    out = bytearray(size)
    cdef uint8_t[::1] view = out
    cdef uint8_t* begin = &view[0] if size else NULL
    for record in records:
        length = len(record)
        memcpy(begin + at, &length, 8)
        crc = masked_crc(begin + at, 8)
        memcpy(begin + at + 8, &crc, 4)
        memcpy(begin + at + HEAD, <const char*>record, length)
        crc = masked_crc(begin + at + HEAD, length)
        memcpy(begin + at + HEAD + length, &crc, 4)
        at += HEAD + length + TAIL
    return out


cdef struct CsvText:
    const uint8_t* text
    size_t size
    int delimiter
    int[4] special  # the quote, the escape, line feed, carriage return; -1: there is none
    int64_t[4] known  # where each of them is next, as far as it has been looked for
    size_t plain  # the byte before this one is escaped


cdef inline CsvText csv_text(const uint8_t[::1] data, int delimiter, int quote, int escape) noexcept:
    cdef CsvText it
    it.text = &data[0] if data.shape[0] else NULL
    it.size = data.shape[0]
    it.delimiter = delimiter
    it.special = [quote, escape, 10, 13]
    it.known = [-1, -1, -1, -1]
    it.plain = 0
    return it


cdef inline size_t next_special(CsvText* it, size_t at, int count) noexcept nogil:
    """Where the first of the first ``count`` special bytes is from ``at`` on; the end of the text if there is none."""
    cdef const void* there
    cdef size_t first = it.size
    cdef int i
    for i in range(count if at < it.size else 0):
        if it.known[i] < <int64_t>at:
            there = memchr(<void*>(it.text + at), it.special[i], it.size - at) if it.special[i] >= 0 else NULL
            it.known[i] = <const uint8_t*>there - it.text if there != NULL else <int64_t>it.size
        first = min(first, <size_t>it.known[i])
    return first


cdef inline size_t after_special(CsvText* it, size_t at, bint* closed) noexcept nogil:
    """Where text goes on after a quote or an escape, and what it encloses or escapes; ``closed`` is whether it ends."""
    cdef uint8_t before = it.text[at - 1] if at else 10
    if it.text[at] != it.special[0] or at == it.plain and at or before not in (it.delimiter, 10, 13):
        if it.text[at] != it.special[1]:
            return at + 1  # a quote that begins no field
        it.plain = at + 2
        return it.plain
    closed[0] = False
    at = next_special(it, at + 1, 2)
    while at < it.size:
        if it.text[at] != it.special[1] and (at + 1 == it.size or it.text[at + 1] != it.special[0]):
            closed[0] = True
            return at + 1
        at = next_special(it, at + 2, 2)
    return it.size


def csv_records(const uint8_t[::1] data, int delimiter, int quote, int escape):
    """Where the records of CSV text begin. Quotes and escapes mean what they mean to pyarrow; -1: there is none.

    Args:
        data: begins with a record; nothing follows it.

    Returns:
        int64[records] offsets, without lines that are empty; and whether the data ends inside quotes.
    """
    cdef CsvText it = csv_text(data, delimiter, quote, escape)
    cdef size_t at = 0, end, begin = 0
    cdef vector[int64_t] starts
    cdef bint closed = True
    cdef uint8_t c
    with nogil:
        while True:
            at = next_special(&it, at, 4)
            if at >= it.size:
                break
            c = it.text[at]
            if c != 10 and c != 13:
                at = after_special(&it, at, &closed)
                continue
            end = at
            at += 1
            if c == 13 and at < it.size and it.text[at] == 10:
                at += 1
            if end > begin:
                starts.push_back(begin)
            begin = at
        if begin < it.size:
            starts.push_back(begin)
    begins = np.empty(starts.size(), np.int64)
    cdef int64_t[::1] offsets = begins
    if starts.size():
        memcpy(&offsets[0], starts.data(), starts.size() * 8)
    return begins, not closed


def csv_end(const uint8_t[::1] data, int delimiter, int quote, int escape):
    """Where the last complete record of CSV text ends if more text follows; 0 if there is none.

    It looks for quotes and escapes only, and then from the end for a line's end that is outside them: all text goes
    through here, in one thread.
    """
    cdef CsvText it = csv_text(data, delimiter, quote, escape)
    cdef size_t at = 0, begin, end = it.size
    cdef vector[size_t] enclosed  # where quoted and escaped text begins and where it ends
    cdef bint closed = True
    with nogil:
        while True:
            at = next_special(&it, at, 2)
            if at >= it.size:
                break
            enclosed.push_back(at)
            at = after_special(&it, at, &closed)
            enclosed.push_back(min(at, it.size))
        while True:
            begin = enclosed.back() if enclosed.size() else 0
            while end > begin:
                end -= 1
                if it.text[end] == 10 or it.text[end] == 13 and end + 1 < it.size:  # else a line feed may follow
                    with gil:
                        return end + 1
            if not enclosed.size():
                break
            enclosed.pop_back()
            end = enclosed.back()
            enclosed.pop_back()
    return 0


def count_byte(const uint8_t[::1] data, int byte, size_t end):
    """How often a byte is among the first ``end``. Unlike ``bytes.count``, as fast where there are many."""
    cdef size_t total
    cdef uint8_t wanted = byte
    cdef const uint8_t* text = &data[0] if data.shape[0] else NULL
    end = min(end, <size_t>data.shape[0])
    with nogil:
        total = CountByte(text, end, wanted)
    return total
