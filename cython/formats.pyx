"""What files of other formats need at full speed: TFRecord's frames, and where the records of a CSV file begin."""
import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

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


def csv_records(const uint8_t[::1] data, int delimiter, int quote, int escape, bint last):
    """Where the records of CSV text begin. Quotes and escapes mean what they mean to pyarrow; -1: there is none.

    Args:
        data: begins with a record.
        last: whether nothing follows the data.

    Returns:
        int64[records] offsets, without lines that are empty; the end of the last complete record; and whether the data
        ends inside quotes.
    """
    cdef size_t size = data.shape[0], at = 0, end = 0, begin = 0
    cdef const uint8_t* text = &data[0] if size else NULL
    cdef vector[int64_t] starts
    cdef uint8_t[256] ends_run  # whether a byte means something outside quotes, or inside
    cdef uint8_t[256] ends_quoted
    cdef bint closed = True
    cdef int c
    memset(ends_run, 0, 256)
    memset(ends_quoted, 0, 256)
    ends_run[delimiter] = ends_run[10] = ends_run[13] = 1
    if quote >= 0:
        ends_quoted[quote] = 1
    if escape >= 0:
        ends_run[escape] = ends_quoted[escape] = 1
    with nogil:
        while at < size:  # at the beginning of a field
            if quote >= 0 and text[at] == quote:
                at += 1
                closed = False
                while not closed:
                    while at < size and not ends_quoted[text[at]]:
                        at += 1
                    if at >= size:
                        break
                    if text[at] == escape:
                        at += 2
                    elif at + 1 < size and text[at + 1] == quote:
                        at += 2
                    else:
                        at += 1
                        closed = True
            while at < size and not ends_run[text[at]]:
                at += 1
            while at < size and text[at] == escape:
                at += 2
                while at < size and not ends_run[text[at]]:
                    at += 1
            if at >= size:
                break
            c = text[at]
            at += 1
            if c == delimiter:
                continue
            if c == 13:
                if at == size and not last:
                    break  # a line feed may follow
                if at < size and text[at] == 10:
                    at += 1
                    if at - begin > 2:
                        starts.push_back(begin)
                elif at - begin > 1:
                    starts.push_back(begin)
            elif at - begin > 1:
                starts.push_back(begin)
            begin = end = at
        if last and begin < size:
            starts.push_back(begin)
            end = size
    found = np.empty(starts.size(), np.int64)
    cdef int64_t[::1] offsets = found
    if starts.size():
        memcpy(&offsets[0], starts.data(), starts.size() * 8)
    return found, end, not closed


def count_byte(const uint8_t[::1] data, int byte, size_t end):
    """How often a byte is among the first ``end``. Unlike ``bytes.count``, as fast where there are many."""
    cdef size_t at, stop, total = 0
    cdef uint8_t some, wanted = byte
    cdef const uint8_t* text = &data[0] if data.shape[0] else NULL
    end = min(end, <size_t>data.shape[0])
    with nogil:
        at = 0
        while at < end:
            stop = min(at + 255, end)  # what one byte can count
            some = 0
            while at < stop:
                some += text[at] == wanted
                at += 1
            total += some
    return total
