"""The codecs of STRING, BINARY (a uint32 and so many bytes) and UUID (16 bytes, big endian)."""
import uuid

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy
from libcpp.string cimport string

from gridflow._native.codecs cimport put_u32, register_codec, short
from gridflow._native.core cimport *

from gridflow import errors as _errors
from gridflow._native.codecs import Mismatch


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL


cdef inline int put_bytes(string& out, const char* data, Py_ssize_t size) except -1:
    if size > <Py_ssize_t>0xFFFFFFFE:
        raise Mismatch("a value has at most 4 GiB - 2")
    put_u32(out, <uint32_t>size)
    out.append(data, size)
    return 0


cdef inline const char* take_bytes(const uint8_t** at, uint32_t* size) noexcept:
    cdef const uint8_t* p = at[0]
    memcpy(size, p, 4)
    at[0] = p + 4 + size[0]
    return <const char*>p + 4


cdef inline const char* bytes_of(const ColumnView* column, int64_t row, int64_t* size) except NULL:
    cdef int64_t start, end
    if not CheckedRange(column[0], row, &start, &end):
        raise _errors.GridCorruptError(f"column {column.type.name.decode()} has impossible offsets")
    size[0] = end - start
    return <const char*>column.data + start


cdef int encode_string(const Type* t, object value, string& out) except -1:
    cdef Py_ssize_t size
    cdef const char* text
    if not PyUnicode_Check(value):
        raise Mismatch(f"{short(value)} is not a str")
    try:
        text = PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError:
        raise Mismatch(f"{short(value)} cannot be written as UTF-8") from None
    return put_bytes(out, text, size)


cdef object decode_string(const Type* t, const uint8_t** at):
    cdef uint32_t size
    cdef const char* text = take_bytes(at, &size)
    return PyUnicode_DecodeUTF8(text, size, NULL)


cdef object read_string(const ColumnView* column, int64_t row):
    cdef int64_t size
    cdef const char* text = bytes_of(column, row, &size)
    return PyUnicode_DecodeUTF8(text, size, NULL)


cdef int encode_binary(const Type* t, object value, string& out) except -1:
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    elif not isinstance(value, bytes):
        raise Mismatch(f"{short(value)} is not bytes")
    return put_bytes(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef object decode_binary(const Type* t, const uint8_t** at):
    cdef uint32_t size
    cdef const char* data = take_bytes(at, &size)
    return PyBytes_FromStringAndSize(data, size)


cdef object read_binary(const ColumnView* column, int64_t row):
    cdef int64_t size
    cdef const char* data = bytes_of(column, row, &size)
    return PyBytes_FromStringAndSize(data, size)


cdef int encode_uuid(const Type* t, object value, string& out) except -1:
    if isinstance(value, uuid.UUID):
        value = value.bytes
    elif not (isinstance(value, bytes) and len(value) == 16):
        raise Mismatch(f"{short(value)} is not a uuid.UUID")
    out.append(PyBytes_AS_STRING(value), 16)
    return 0


cdef object decode_uuid(const Type* t, const uint8_t** at):
    cdef const uint8_t* p = at[0]
    at[0] = p + 16
    return uuid.UUID(bytes=p[:16])


register_codec(GF_STRING, encode_string, decode_string, read_string)
register_codec(GF_BINARY, encode_binary, decode_binary, read_binary)
register_codec(GF_UUID, encode_uuid, decode_uuid)
