"""How values of each kind of column become bytes of the log (log_format.h) and Python objects again: a table.

A kind's codec is registered by the module that has its functions: ``codecs_numbers``, ``codecs_bytes``,
``codecs_times``, ``codecs_nested``. ``rows`` imports them all, so whoever has a ``RowCodec`` has every codec.
"""
import numpy as np

from libc.stdint cimport int64_t, uint8_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native.core cimport *
from gridflow._native.status cimport check

#: The numbers of ``schema_format.h``, by name.
KINDS = {
    "BOOL": GF_BOOL, "INT8": GF_INT8, "INT16": GF_INT16, "INT32": GF_INT32, "INT64": GF_INT64,
    "UINT8": GF_UINT8, "UINT16": GF_UINT16, "UINT32": GF_UINT32, "UINT64": GF_UINT64,
    "FLOAT16": GF_FLOAT16, "FLOAT32": GF_FLOAT32, "FLOAT64": GF_FLOAT64, "DECIMAL": GF_DECIMAL,
    "STRING": GF_STRING, "BINARY": GF_BINARY, "DATE": GF_DATE, "TIME": GF_TIME, "TIMESTAMP": GF_TIMESTAMP,
    "UUID": GF_UUID, "TENSOR": GF_TENSOR, "LIST": GF_LIST, "STRUCT": GF_STRUCT, "MAP": GF_MAP,
}
KIND_NAMES = {code: name for name, code in KINDS.items()}
UNIT_NAMES = ("s", "ms", "us", "ns")


class Mismatch(Exception):
    """A value that does not fit; `path` names the parts from the innermost out."""

    def __init__(self, str message):
        self.message = message
        self.path = []


cdef str short(object value):
    """A value for a message."""
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}[{','.join(map(str, value.shape))}]"
    if type(value).__module__.startswith("pyarrow"):  # to show it would be to read what nobody has checked
        return f"a {type(value).__name__} of pyarrow"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python shows
        return f"such a large {type(value).__name__}"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


cdef int encode_unknown(const Type* t, object value, string& out) except -1:
    raise AssertionError(f"no codec for kind {t.kind}")


cdef object decode_unknown(const Type* t, const uint8_t** at):
    raise AssertionError(f"no codec for kind {t.kind}")


cdef object read_encoded(const ColumnView* column, int64_t row):
    """Of nested values: by way of their encoding."""
    cdef string encoded
    cdef const uint8_t* p
    check(EncodeCell(column[0], row, &encoded))
    p = <const uint8_t*>encoded.data()
    return TABLE[<size_t>column.type.kind].decode(column.type, &p)


# Written while the modules with the codecs are imported, and only read from then on.
cdef vector[Codec] TABLE
TABLE.resize(<size_t>max(KIND_NAMES) + 1, Codec(encode_unknown, decode_unknown, NULL, NULL))


cdef void register_codec(gf_kind kind, Encode encode, Decode decode, ReadCell read=NULL, MakeKey make_key=NULL) noexcept:
    """Enters a kind's codec."""
    TABLE[<size_t>kind] = Codec(encode, decode, read, make_key)


cdef const Codec* codec_of(gf_kind kind) noexcept:
    """The codec of a kind that is in KINDS."""
    return &TABLE[<size_t>kind]


def registered():
    """The names of the kinds that have a codec."""
    return [name for name, code in KINDS.items() if TABLE[<size_t>code].encode != encode_unknown]
