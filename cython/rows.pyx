"""Python keys and values as encoded rows (log_format.h) and back, and schemas as the native side sees them."""
from collections.abc import Mapping

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native.codecs cimport Codec, codec_of, short
from gridflow._native.core cimport *

from gridflow import errors as _errors
from gridflow import schema as _schema
from gridflow._native import codecs_bytes, codecs_nested, codecs_numbers, codecs_times  # each registers its codecs
from gridflow._native.codecs import KIND_NAMES, KINDS, UNIT_NAMES, Mismatch
from gridflow.config import MAX_KEY_BYTES
from gridflow.errors import ColumnNotFoundError, SchemaError

cdef object left_out = object()
#: Stands for a column that a row does not name.
LEFT_OUT = left_out
UNITS = {"": GF_SECOND, "s": GF_SECOND, "ms": GF_MILLISECOND, "us": GF_MICROSECOND, "ns": GF_NANOSECOND}


# ---- schemas ----

cdef int type_to_native(str name, object t, Type* out) except -1:
    cdef size_t i
    out.kind = <gf_kind><int>KINDS[t.kind]
    out.nullable = t.nullable
    out.utc = t.utc
    out.unit = <gf_unit><int>UNITS[t.unit]
    out.precision = t.precision
    out.scale = t.scale
    out.name = name.encode()
    if t.kind == "TENSOR":
        out.element = <gf_kind><int>KINDS[t.element]
        for dim in t.shape:
            out.dims.push_back(dim)
        if t.size * t.dtype.itemsize > 1 << 31:
            raise SchemaError(f"column {name} {t}: a tensor may have 2 GiB")
    out.children.resize(len(t.children))
    for i, (child_name, child) in enumerate(t.children):
        type_to_native(child_name, child, &out.children[i])
    return 0


cdef object type_from_native(const Type& t):
    cdef size_t i
    kind = KIND_NAMES[<int>t.kind]
    return _schema.Type(
        kind,
        nullable=t.nullable,
        precision=t.precision,
        scale=t.scale,
        unit=UNIT_NAMES[<int>t.unit] if t.kind == GF_TIMESTAMP else "",
        utc=t.utc,
        element=KIND_NAMES[<int>t.element] if t.kind == GF_TENSOR else "",
        shape=tuple([t.dims[i] for i in range(t.dims.size())]),
        children=tuple([
            (t.children[i].name.decode(), type_from_native(t.children[i])) for i in range(t.children.size())
        ]),
    )


cdef object schema_from_native(const Schema& schema):
    cdef size_t i
    cdef const Column* column
    columns = []
    for i in range(schema.columns.size()):
        column = &schema.columns[i]
        columns.append(
            _schema.Column(
                column.type.name.decode(), type_from_native(column.type), column.id, column.fill,
                column.default_value,
            )
        )
    return _schema.Schema(tuple(columns), tuple([columns[schema.key[i]].name for i in range(schema.key.size())]))


cdef class RowCodec:
    """Encodes and decodes keys and values of one table's schema. Immutable; any thread that holds the GIL may use it.

    Args:
        schema: a ``gridflow.schema.Schema``.
        table: the table's name, for messages.
    """

    def __init__(self, object schema, str table):
        cdef size_t i, nullable = 0
        cdef string bytes
        self.python_schema = schema
        self.table = table
        self.plain_value = schema.plain_value
        names = schema.names
        self.schema.columns.resize(len(schema.columns))
        for i, column in enumerate(schema.columns):
            self.schema.columns[i].id = column.id
            self.schema.columns[i].fill = column.fill
            self.schema.columns[i].default_value = column.default
            type_to_native(column.name, column.type, &self.schema.columns[i].type)
        for name in schema.key:
            self.schema.key.push_back(names.index(name))
        self.schema.Finish()
        for i in range(self.schema.columns.size()):
            self.codecs.push_back(codec_of(self.schema.columns[i].type.kind)[0])
        for i in range(self.schema.value.size()):
            nullable += self.schema.columns[self.schema.value[i]].type.nullable
        self.bitmap_bytes = (nullable + 7) // 8
        self.value_names = tuple(c.name for c in schema.value_columns)
        self.defaults = self.default_values()
        bytes = self.schema.Serialize()
        self.digest = KeyHash(bytes.data(), bytes.size())  # of all that the bytes of a row depend on

    cdef dict default_values(self):
        cdef size_t i
        cdef const uint8_t* p
        result = {}
        for i in range(self.schema.columns.size()):
            if not self.schema.columns[i].default_value.empty():
                p = <const uint8_t*>self.schema.columns[i].default_value.data()
                result[self.python_schema.columns[i].name] = self.decode_part(i, &p)
        return result

    def encode_cell(self, str name, value):
        """The log's encoding of one value of a column, as ``Column.fill`` and ``default`` take it."""
        cdef string encoded
        cdef uint32_t position = self.python_schema.names.index(name)
        try:
            self.codecs[position].encode(&self.schema.columns[position].type, value, encoded)
        except Mismatch as mismatch:
            raise self.fail(position, mismatch) from None
        return <bytes>encoded

    cdef object fail(self, uint32_t position, object mismatch):
        column = self.python_schema.columns[position]
        path = "".join(reversed(mismatch.path))
        message = f"table {self.table}, column {column.name}{path} {column.type}: {mismatch.message}"
        return SchemaError(message, **self.place(position))

    cdef dict place(self, uint32_t position):
        """What an error about a column knows of its place."""
        return {"table": self.table, "column": self.python_schema.columns[position].name}

    cdef int encode_key(self, object key, string& out) except -1:
        cdef size_t start = out.size(), i, count = self.schema.key.size(), at
        if count == 1:
            parts = None
        elif isinstance(key, Mapping):
            names = self.python_schema.key
            if set(key) != set(names):
                raise SchemaError(
                    f"table {self.table}: the key is {', '.join(names)}, got {', '.join(map(str, key))}", table=self.table
                )
            parts = tuple(key[name] for name in names)
        elif isinstance(key, (tuple, list)) and len(key) == <Py_ssize_t>count:
            parts = key
        else:
            names = ", ".join(self.python_schema.key)
            raise SchemaError(f"table {self.table}: a key is a tuple ({names}), got {short(key)}", table=self.table)
        for i in range(count):
            value = key if parts is None else parts[i]
            position = self.schema.key[i]
            try:
                if value is None:
                    raise Mismatch("a null is not allowed in a key")
                at = out.size()
                self.codecs[position].encode(&self.schema.columns[position].type, value, out)
                if self.codecs[position].make_key != NULL:
                    self.codecs[position].make_key(&self.schema.columns[position].type, out, at)
            except Mismatch as error:
                raise self.fail(position, error) from None
        if out.size() - start > <size_t>MAX_KEY_BYTES:
            raise SchemaError(
                f"table {self.table}: a key has at most {MAX_KEY_BYTES} bytes, this one has {out.size() - start}",
                table=self.table,
            )
        return 0

    cdef int encode_value(self, object value, string& out) except -1:
        cdef size_t i, used = 0, count = self.schema.value.size()
        cdef list values = []
        if self.plain_value:
            return self.encode_values((value,), out)
        if not isinstance(value, dict) and not isinstance(value, Mapping):
            if count == 0 and value is None:
                return self.encode_values((), out)
            raise SchemaError(
                f"table {self.table}: a value is a dict of {', '.join(self.value_names)}, got {short(value)}",
                table=self.table,
            )
        for name in self.value_names:
            item = value.get(name, left_out)
            used += item is not left_out
            values.append(item)
        self.encode_values(tuple(values), out)
        if used != <size_t>len(value):
            extra = next(name for name in value if name not in self.value_names)
            if extra in self.python_schema.key:
                raise SchemaError(
                    f"table {self.table}: {extra} is in the key, it cannot be in the value", table=self.table, column=extra
                )
            known = _errors.did_you_mean(str(extra), self.python_schema.names)
            raise ColumnNotFoundError(
                f"table {self.table} has no column {extra}; {known}", table=self.table, column=str(extra)
            )
        return 0

    cdef int encode_values(self, tuple values, string& out) except -1:
        """Appends the values of the columns that are not in the key, in their order; LEFT_OUT for what has its default."""
        cdef size_t i, bit = 0, bitmap = out.size()
        cdef uint32_t position
        cdef const Type* t
        cdef const string* default_value
        out.append(self.bitmap_bytes, <char>0)
        for i in range(self.schema.value.size()):
            position = self.schema.value[i]
            t = &self.schema.columns[position].type
            item = values[i]
            try:
                default_value = &self.schema.columns[position].default_value
                if item is None or (item is left_out and default_value.empty()):
                    if not t.nullable:
                        raise Mismatch("a null is not allowed" + ("" if item is None else ", and the column has no DEFAULT"))
                    bit += 1
                    continue
                if t.nullable:
                    out[bitmap + bit // 8] = <char>(<uint8_t>out[bitmap + bit // 8] | (1 << (bit % 8)))
                    bit += 1
                if item is left_out:
                    out.append(default_value[0])
                    continue
                self.codecs[position].encode(t, item, out)
            except Mismatch as error:
                raise self.fail(position, error) from None
        return 0

    cdef object decode_part(self, uint32_t position, const uint8_t** at):
        return self.codecs[position].decode(&self.schema.columns[position].type, at)

    cdef object decode_key(self, const uint8_t* p):
        cdef size_t i
        if self.schema.key.size() == 1:
            return self.decode_part(self.schema.key[0], &p)
        return tuple([self.decode_part(self.schema.key[i], &p) for i in range(self.schema.key.size())])

    cdef object decode_value(self, const uint8_t* p):
        values = self.decode_values(p)
        return values[0] if self.plain_value else dict(zip(self.value_names, values))

    cdef tuple decode_values(self, const uint8_t* p):
        """The values of the columns that are not in the key, in their order."""
        cdef size_t i, bit = 0
        cdef const uint8_t* bitmap = p
        cdef uint32_t position
        cdef list result = []
        p += self.bitmap_bytes
        for i in range(self.schema.value.size()):
            position = self.schema.value[i]
            if self.schema.columns[position].type.nullable:
                bit += 1
                if not (bitmap[(bit - 1) >> 3] >> ((bit - 1) & 7)) & 1:
                    result.append(None)
                    continue
            result.append(self.decode_part(position, &p))
        return tuple(result)

    def value_bytes(self, object value):
        """A value as a row has it, in bytes: those of equal values are equal."""
        cdef string encoded
        self.encode_value(value, encoded)
        return <bytes>encoded

    def check(self, object key, object value):
        """Raises SchemaError or ColumnNotFoundError if a row with this key and value does not fit."""
        cdef string encoded
        self.encode_key(key, encoded)
        self.encode_value(value, encoded)

    def check_column(self, str name, list values):
        """Raises SchemaError if one of these values of a column does not fit it."""
        cdef string encoded
        cdef uint32_t position = self.python_schema.names.index(name)
        cdef const Type* t = &self.schema.columns[position].type
        for value in values:
            try:
                if value is not None:
                    encoded.clear()
                    self.codecs[position].encode(t, value, encoded)
                elif not t.nullable:
                    raise Mismatch("a null is not allowed")
            except Mismatch as error:
                raise self.fail(position, error) from None

    cdef object decode_row(self, const vector[ColumnView]& columns, int64_t row):
        """The value of a row of a segment; ``columns`` are in the order of the schema."""
        cdef size_t i
        cdef uint32_t position
        if self.plain_value:
            return self.decode_cell(self.schema.value[0], &columns[self.schema.value[0]], row)
        result = {}
        for i in range(self.schema.value.size()):
            position = self.schema.value[i]
            result[self.value_names[i]] = self.decode_cell(position, &columns[position], row)
        return result

    cdef object decode_cell(self, uint32_t position, const ColumnView* column, int64_t row):
        cdef const uint8_t* p
        if column.missing() or column.IsNull(row):
            return None
        if self.codecs[position].read != NULL:
            return self.codecs[position].read(column, row)
        p = column.Value(row)
        return self.codecs[position].decode(column.type, &p)

    def partition_of(self, object key, int partitions):
        """The partition that a key lies in, of ``partitions``."""
        cdef string encoded
        self.encode_key(key, encoded)
        return PartitionOf(KeyHash(encoded.data(), encoded.size()), partitions)
