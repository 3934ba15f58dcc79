"""The log's operations (log_format.h) of one table's rows, as bytes: built of Python values or columns, checked, and read.

For whoever has the columns of a table and not the table: a process that speaks to its node. What is read here may have
come over a wire, so every byte is checked before it is decoded.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec, schema_from_native
from gridflow._native.status cimport check

from gridflow.errors import SchemaError, reworded

core.process_state = shared_state()

cdef enum:
    USUAL_BYTES = 240  # of one row's operation: else a string that is gone at once would grow column by column


cdef int end_put(RowCodec codec, uint32_t table_id, OperationBuilder& builder) except -1:
    if not builder.EndPut(table_id):
        raise SchemaError(
            f"table {codec.table}: a row has at most 4 GiB - 2, this one has {builder.value_bytes()} bytes",
            table=codec.table,
        )
    return 0


cdef int append_put(
    RowCodec codec, uint32_t table_id, object key, object value, string& out, string* encoded_key
) except -1:
    """Appends the operation that puts a row; ``encoded_key``, unless null, gets the key."""
    cdef OperationBuilder builder = OperationBuilder(&out)
    codec.encode_key(key, out)
    builder.EndKey()
    if encoded_key != NULL:
        encoded_key[0] = builder.key()
    codec.encode_value(value, out)
    return end_put(codec, table_id, builder)


cdef int append_row(
    RowCodec codec, uint32_t table_id, const vector[ColumnView]& columns, int64_t row, string& out
) except -1:
    """As ``append_put``, of a row of columns, which are in the order of the schema."""
    cdef OperationBuilder builder = OperationBuilder(&out)
    check(EncodeKey(codec.schema, columns, row, &out))
    builder.EndKey()
    check(EncodeValue(codec.schema, columns, row, &out))
    return end_put(codec, table_id, builder)


cdef int append_batches(RowCodec codec, uint32_t table_id, list batches, string* out) except -1:
    """Appends the operations that put rows of columns, given as ``Edit.add_batches`` takes them. Returns their number."""
    cdef vector[ColumnView] views
    cdef vector[ArrowArray] arrays
    cdef size_t done, i, columns = codec.schema.columns.size()
    cdef int64_t row, rows
    cdef int count = 0
    for batch in batches:
        done = 0
        views.clear()
        views.resize(columns)
        arrays.clear()
        arrays.resize(columns)
        rows = len(batch[0])
        try:
            for i in range(columns):
                batch[i]._export_to_c(<uintptr_t>&arrays[i])
                done += 1
                try:
                    check(ImportColumn(codec.schema.columns[i].type, arrays[i], &views[i]))
                except SchemaError as error:
                    raise reworded(error, f"table {codec.table}, {error}", **codec.place(i)) from None
            for row in range(rows):
                append_row(codec, table_id, views, row, out[0])
                count += 1
        finally:
            for i in range(done):
                if arrays[i].release != NULL:
                    arrays[i].release(&arrays[i])
    return count


def encode_key(RowCodec codec not None, key):
    """The bytes of a key."""
    cdef string out
    codec.encode_key(key, out)
    return <bytes>out


def encode_put(RowCodec codec not None, uint32_t table_id, key, value):
    """The operation that puts a row, as bytes."""
    cdef string out
    out.reserve(USUAL_BYTES)
    append_put(codec, table_id, key, value, out, NULL)
    return PyBytes_FromStringAndSize(out.data(), out.size())


def encode_puts(RowCodec codec not None, uint32_t table_id, pairs):
    """The operations that put rows, given as (key, value), as bytes."""
    cdef string out
    for key, value in pairs:
        append_put(codec, table_id, key, value, out, NULL)
    return PyBytes_FromStringAndSize(out.data(), out.size())


def encode_columns(RowCodec codec not None, uint32_t table_id, list batches):
    """The operations that put rows of columns, given as ``Edit.add_batches`` takes them, as bytes."""
    cdef string out
    append_batches(codec, table_id, batches, &out)
    return PyBytes_FromStringAndSize(out.data(), out.size())


def encode_removals(RowCodec codec not None, uint32_t table_id, keys):
    """The operations that remove the rows under these keys, as bytes."""
    cdef string out, encoded
    for key in keys:
        encoded.clear()
        codec.encode_key(key, encoded)
        AppendRemoval(table_id, encoded, &out)
    return PyBytes_FromStringAndSize(out.data(), out.size())


def decode_value(RowCodec codec not None, bytes value not None):
    """The value of a row, of its bytes.

    Raises:
        SchemaError: they are none of these columns.
    """
    check(CheckValue(codec.schema, <const uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)))
    return codec.decode_value(<const uint8_t*>PyBytes_AS_STRING(value))


def decode_key(RowCodec codec not None, bytes key not None):
    """The key of its bytes; else as ``decode_value``."""
    check(CheckKey(codec.schema, <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)))
    return codec.decode_key(<const uint8_t*>PyBytes_AS_STRING(key))


def decode_puts(RowCodec codec not None, uint32_t table_id, bytes operations not None):
    """What operations put: a list of (key, value).

    Raises:
        SchemaError: they are no puts of rows of this table and these columns.
    """
    return walk(codec, table_id, operations, False)


def decode_removals(RowCodec codec not None, uint32_t table_id, bytes operations not None):
    """The keys of which operations remove the rows; else as ``decode_puts``."""
    return walk(codec, table_id, operations, True)


cdef list walk(RowCodec codec, uint32_t table_id, bytes operations, bint removes):
    cdef OperationChecker checker = OperationChecker(
        PyBytes_AS_STRING(operations), PyBytes_GET_SIZE(operations), table_id, removes, <string>codec.table.encode()
    )
    cdef Operation operation
    cdef list result = []
    while checker.Next(&operation):
        check(CheckOperation(codec.schema, operation))
        key = codec.decode_key(operation.key())
        result.append(key if removes else (key, codec.decode_value(operation.value())))
    check(checker.status())
    return result


def schema_bytes(RowCodec codec not None):
    """The columns and the key as bytes, of which ``schema_of`` makes them again, with the same digest."""
    return <bytes>codec.schema.Serialize()


def schema_of(bytes data not None):
    """The ``Schema`` of bytes that may have come over a wire.

    Raises:
        GridCorruptError: they are none.
    """
    cdef Schema schema
    check(
        Schema.Parse(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), b"a schema of the node", 0, &schema)
    )
    return schema_from_native(schema)
