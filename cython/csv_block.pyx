"""CSV text whose fields are written plainly, as Arrow arrays: see ``core/csv_block.h``."""
import pyarrow as pa

from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from gridflow._native.core cimport *
from gridflow._native.rows cimport type_to_native


cdef class PlainCsv:
    """Reads blocks of one file. Immutable; any thread may use it, and does without the interpreter's lock.

    Args:
        types: the types of the columns to read, all of which must be ``known``.
        fields: of each field of a record, the place of its column in ``types``; -1: it is left out.
        delimiter: between fields, which must be ``known``.
        quote: None if there is none.
        null_texts: whether a text of no bytes and no quotes is null.
    """

    cdef CsvLayout layout
    cdef list arrow

    def __init__(self, list types not None, list fields not None, str delimiter not None, str quote, bint null_texts):
        self.layout.types.resize(len(types))
        for i, t in enumerate(types):
            type_to_native("", t, &self.layout.types[i])
            self.layout.types[i].Finish()
        for field in fields:
            self.layout.columns.push_back(field)
        self.layout.delimiter = ord(delimiter)
        self.layout.quote = ord(quote) if quote is not None else -1
        self.layout.null_texts = null_texts
        self.arrow = [t.arrow() for t in types]

    @staticmethod
    def known(types, str delimiter not None):
        """Whether columns of these types, with this between them, can be read at all."""
        cdef Type native
        for t in types:
            type_to_native("", t, &native)
            if not CsvBlock.Reads(native):
                return False
        return bool(ord(delimiter) < 128 and CsvBlock.Separates(ord(delimiter)))

    def read(self, bytes text not None):
        """The columns of complete records, as a list of arrays; None if a field is not written plainly."""
        cdef const uint8_t* data = <const uint8_t*><const char*>text
        cdef size_t i, size = len(text)
        cdef shared_ptr[const CsvBlock] block
        cdef ArrowArray array
        with nogil:
            block = CsvBlock.Read(self.layout, data, size)
        if block.get() == NULL:
            return None
        arrays = []
        for i in range(block.get().columns().size()):
            ExportColumn(block.get().columns()[i], 0, block.get().rows(), block, &array)
            arrays.append(pa.Array._import_from_c(<uintptr_t>&array, self.arrow[i]))
        return arrays
