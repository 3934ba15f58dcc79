from libc.stdint cimport int64_t, uint8_t, uint32_t
from libcpp.string cimport string

from gridflow._native.core cimport ColumnView, Type, gf_kind


# Appends the log's encoding of a value, which is not null. Raises Mismatch if it does not fit.
ctypedef int (*Encode)(const Type*, object, string&) except -1
# The value whose encoding starts at the pointer, which moves past it. The bytes are trusted: they were checked before.
ctypedef object (*Decode)(const Type*, const uint8_t**)
# The value of a segment's cell, which is not null.
ctypedef object (*ReadCell)(const ColumnView*, int64_t)
# Brings the encoding that starts there, the last of the text, to the form that equal keys share.
ctypedef int (*MakeKey)(const Type*, string&, size_t) except -1


cdef struct Codec:
    Encode encode
    Decode decode
    ReadCell read  # NULL: a cell is as its encoding, and as wide as all
    MakeKey make_key  # NULL: equal values have equal encodings already


cdef void register_codec(gf_kind kind, Encode encode, Decode decode, ReadCell read=*, MakeKey make_key=*) noexcept
cdef const Codec* codec_of(gf_kind kind) noexcept
cdef object read_encoded(const ColumnView* column, int64_t row)
cdef str short(object value)


cdef inline void put_u32(string& out, uint32_t value) noexcept:
    out.append(<const char*>&value, 4)
