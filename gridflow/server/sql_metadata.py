"""What clients of Flight SQL ask about a grid: catalogs, schemas, tables, keys, types, and what its SQL can do.

Tables and columns are read from the views of schema SYS, by the message that any client reads them with. There is no
catalog: names have two parts, of which the first is PUBLIC or SYS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from ..config import VERSION
from ..errors import UsageError
from ..kinds import ByKind, Refused
from ..schema import INTEGERS, NESTED, parse_type
from ..storage.arrow import user_type

PUBLIC, SYS = "PUBLIC", "SYS"
#: Kinds of tables.
TABLE, SYSTEM_VIEW = "TABLE", "SYSTEM VIEW"

#: A name has 1 KiB at most, and each of its characters may be escaped.
_LONGEST_PATTERN = 4096

#: Reads columns of a view of schema SYS.
View = Callable[[str, list[str]], pa.Table]


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(name, dtype, nullable=bool(nullable)) for name, dtype, *nullable in fields])


_text, _int = pa.string(), pa.int32()
_SQL_INFO_VALUE = pa.dense_union(
    [
        pa.field("string_value", _text),
        pa.field("bool_value", pa.bool_()),
        pa.field("bigint_value", pa.int64()),
        pa.field("int32_bitmask", _int),
        pa.field("string_list", pa.list_(_text)),
        pa.field("int32_to_int32_list_map", pa.map_(_int, pa.list_(_int))),
    ]
)
_REFERENCES = _schema(
    ("pk_catalog_name", _text, True),
    ("pk_db_schema_name", _text, True),
    ("pk_table_name", _text),
    ("pk_column_name", _text),
    ("fk_catalog_name", _text, True),
    ("fk_db_schema_name", _text, True),
    ("fk_table_name", _text),
    ("fk_column_name", _text),
    ("key_sequence", _int),
    ("fk_key_name", _text, True),
    ("pk_key_name", _text, True),
    ("update_rule", pa.uint8()),
    ("delete_rule", pa.uint8()),
)
_TABLES = _schema(
    ("catalog_name", _text, True), ("db_schema_name", _text, True), ("table_name", _text), ("table_type", _text)
)
#: Command -> the columns of its answer. Those of GetTables have one more, if the tables' columns are asked for.
SCHEMAS = {
    "CommandGetSqlInfo": _schema(("info_name", pa.uint32()), ("value", _SQL_INFO_VALUE)),
    "CommandGetXdbcTypeInfo": _schema(
        ("type_name", _text),
        ("data_type", _int),
        ("column_size", _int, True),
        ("literal_prefix", _text, True),
        ("literal_suffix", _text, True),
        ("create_params", pa.list_(pa.field("item", _text, nullable=False)), True),
        ("nullable", _int),
        ("case_sensitive", pa.bool_()),
        ("searchable", _int),
        ("unsigned_attribute", pa.bool_(), True),
        ("fixed_prec_scale", pa.bool_()),
        ("auto_increment", pa.bool_(), True),
        ("local_type_name", _text, True),
        ("minimum_scale", _int, True),
        ("maximum_scale", _int, True),
        ("sql_data_type", _int),
        ("datetime_subcode", _int, True),
        ("num_prec_radix", _int, True),
        ("interval_precision", _int, True),
    ),
    "CommandGetCatalogs": _schema(("catalog_name", _text)),
    "CommandGetDbSchemas": _schema(("catalog_name", _text, True), ("db_schema_name", _text)),
    "CommandGetTables": _TABLES,
    "CommandGetTableTypes": _schema(("table_type", _text)),
    "CommandGetPrimaryKeys": _schema(
        ("catalog_name", _text, True),
        ("db_schema_name", _text, True),
        ("table_name", _text),
        ("column_name", _text),
        ("key_name", _text, True),
        ("key_sequence", _int),
    ),
    **dict.fromkeys(("CommandGetImportedKeys", "CommandGetExportedKeys", "CommandGetCrossReference"), _REFERENCES),
}


def schema_of(name: str, command: Any) -> pa.Schema:
    """The columns of the answer to a command of ``SCHEMAS``."""
    if name == "CommandGetTables" and command.include_schema:
        return _TABLES.append(pa.field("table_schema", pa.binary(), nullable=False))
    return SCHEMAS[name]


def answer(name: str, command: Any, view: View, infos: dict[int, Any]) -> pa.Table:
    """The rows of the answer to a command of ``SCHEMAS``.

    Args:
        view: reads what the peer may see.
        infos: the values of SqlInfo that are the node's.
    """
    schema = schema_of(name, command)
    if name == "CommandGetSqlInfo":
        return _sql_info(command, infos)
    rows: Iterable[tuple[Any, ...]] = ()
    if name == "CommandGetXdbcTypeInfo":
        wanted = command.data_type if command.HasField("data_type") else None
        rows = sorted((row for row in _type_rows() if wanted in (None, row[1])), key=lambda row: (row[1], row[0]))
    elif name == "CommandGetDbSchemas":
        rows = [(None, one) for one in _schemas_of(command)]
    elif name == "CommandGetTables":
        rows = _tables(command, view)
    elif name == "CommandGetTableTypes":
        rows = [(SYSTEM_VIEW,), (TABLE,)]
    elif name == "CommandGetPrimaryKeys":
        rows = _primary_keys(command, view)
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(list(values), field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


# ---- tables ----


def _has_catalog(command: Any) -> bool:
    """Whether a command asks for a catalog, of which there is none; to ask for those without one is no such thing."""
    return bool(command.HasField("catalog") and command.catalog)


def _schemas_of(command: Any) -> list[str]:
    if _has_catalog(command):
        return []
    pattern = command.db_schema_filter_pattern if command.HasField("db_schema_filter_pattern") else None
    return like([PUBLIC, SYS], pattern)


def like(names: Iterable[str], pattern: str | None) -> list[str]:
    """The names that a pattern of LIKE means, sorted; where none does, those that differ in case. None: all.

    >>> like(["T", "T1", "U"], "T%"), like(["T", "U"], "t"), like(["A_B", "AXB"], "A\\\\_B")
    (['T', 'T1'], ['T'], ['A_B'])
    """
    if pattern is None:
        return sorted(names)
    if len(pattern) > _LONGEST_PATTERN:
        raise UsageError(f"a pattern has {_LONGEST_PATTERN} characters at most, not {len(pattern):,}")
    parts = re.findall(r"\\.|%+|.", pattern, re.DOTALL)
    parts = ["%" if part[0] == "%" else part for part in parts]
    for fold in (str, str.casefold):
        folded = [part if part in ("%", "_") else (fold(part[-1]),) for part in parts]
        found = sorted(name for name in names if _is_like(fold(name), folded))
        if found:
            return found
    return []


def _is_like(name: str, parts: list[Any]) -> bool:
    """Whether a name is of this pattern: ``%``, ``_``, and single characters in tuples.

    Of a ``%`` only the last one is ever looked at again, so that no pattern takes long.
    """
    at = place = 0
    again: tuple[int, int] | None = None  # behind the last %, and what it may begin with the next time
    while at < len(name):
        part = parts[place] if place < len(parts) else None
        if part == "%":
            place += 1
            again = place, at + 1
        elif part == "_" or part == (name[at],):
            at, place = at + 1, place + 1
        elif again is not None:
            place, at = again
            again = place, at + 1
        else:
            return False
    return all(part == "%" for part in parts[place:])


def escape(name: str) -> str:
    """The pattern that means a name and no other."""
    return re.sub(r"([\\%_])", r"\\\1", name)


def _tables(command: Any, view: View) -> Iterator[tuple[Any, ...]]:
    kinds = set(command.table_types) or {TABLE, SYSTEM_VIEW}
    pattern = command.table_name_filter_pattern if command.HasField("table_name_filter_pattern") else None
    for schema, kind, names, columns in (
        (PUBLIC, TABLE, ("TABLES", "TABLE_NAME"), ("TABLE_COLUMNS", "TABLE_NAME")),
        (SYS, SYSTEM_VIEW, ("VIEWS", "NAME"), ("VIEW_COLUMNS", "VIEW_NAME")),
    ):
        if schema not in _schemas_of(command) or kind not in kinds:
            continue
        found = like(view(names[0], [names[1]]).column(0).to_pylist(), pattern)
        if not command.include_schema:
            yield from ((None, schema, name, kind) for name in found)
            continue
        fields = _fields(view, schema, set(found), *columns)
        for name in found:
            if name in fields:  # else it was dropped meanwhile
                yield None, schema, name, kind, pa.schema(fields[name]).serialize().to_pybytes()


def _fields(view: View, schema: str, wanted: set[str], name: str, table_column: str) -> dict[str, list[pa.Field]]:
    """The columns of tables, as clients get them in results, with what JDBC has to know."""
    fields: dict[str, list[pa.Field]] = {}
    columns = [table_column, "COLUMN_NAME", "TYPE", "NULLABLE", "PRECISION", "SCALE"]
    for table, column, text, nullable, precision, scale in zip(
        *(values.to_pylist() for values in view(name, columns).columns), strict=True
    ):
        if table not in wanted:
            continue
        dtype = parse_type(text)
        about = {
            "DB_SCHEMA_NAME": schema,
            "TABLE_NAME": table,
            "TYPE_NAME": text,
            "IS_AUTO_INCREMENT": "0",
            "IS_CASE_SENSITIVE": "1" if dtype.kind == "STRING" else "0",
            "IS_READ_ONLY": "0" if schema == PUBLIC else "1",
            "IS_SEARCHABLE": "1",
        }
        if precision is not None:
            about |= {"PRECISION": str(precision), "SCALE": str(scale)}
        metadata = {f"ARROW:FLIGHT:SQL:{key}": value for key, value in about.items()}
        fields.setdefault(table, []).append(pa.field(column, user_type(dtype), nullable, metadata))
    return fields


def _primary_keys(command: Any, view: View) -> Iterator[tuple[Any, ...]]:
    if _has_catalog(command) or (command.HasField("db_schema") and command.db_schema.upper() != PUBLIC):
        return
    rows = view("INDEXES", ["TABLE_NAME", "INDEX_NAME", "COLUMNS", "IS_PK"]).to_pylist()
    keys = {row["TABLE_NAME"]: row for row in rows if row["IS_PK"]}
    for table in like(keys, escape(command.table)):
        names = re.findall(r'"((?:[^"]|"")+)"|([^,\s"]+)', keys[table]["COLUMNS"])
        named = [(quoted.replace('""', '"') or plain, i) for i, (quoted, plain) in enumerate(names, 1)]
        for column, number in named:
            yield None, PUBLIC, table, column, keys[table]["INDEX_NAME"], number


# ---- types ----

#: Numbers of JDBC and ODBC.
_VARCHAR, _VARBINARY, _OTHER, _ARRAY, _STRUCT = 12, -3, 1111, 2003, 2002
_NUMBERS = {"INT8": -6, "INT16": 5, "INT32": 4, "INT64": -5, "UINT8": 5, "UINT16": 4, "UINT32": -5, "UINT64": 3}
_SIZES = {"INT8": 3, "INT16": 5, "INT32": 10, "INT64": 19, "UINT8": 3, "UINT16": 5, "UINT32": 10, "UINT64": 20}
_NO_LITERAL = Refused("Flight SQL's clients have no type for it: it travels as what Arrow has")
#: Of each kind the number, the most digits, the quotes of a literal, the parameters, the radix and the subcode.
_TYPES: ByKind[tuple[Any, ...] | Refused] = ByKind(
    "types of JDBC and ODBC",
    {
        "BOOL": (-7, 1, None, None, None, None),
        **{kind: (_NUMBERS[kind], _SIZES[kind], None, None, 10, None) for kind in INTEGERS},
        "FLOAT16": (7, 11, None, None, 2, None),
        "FLOAT32": (7, 24, None, None, 2, None),
        "FLOAT64": (8, 53, None, None, 2, None),
        "DECIMAL": (3, 38, None, ["precision", "scale"], 10, None),
        "STRING": (_VARCHAR, None, ("'", "'"), None, None, None),
        "BINARY": (_VARBINARY, None, ("X'", "'"), None, None, None),
        "DATE": (91, 10, ("DATE '", "'"), None, None, 2 - 1),
        "TIME": (92, 15, ("TIME '", "'"), None, None, 2),
        "TIMESTAMP": (93, 26, ("TIMESTAMP '", "'"), None, None, 3),
        "UUID": (_OTHER, 36, ("'", "'"), None, None, None),
        "TENSOR": _NO_LITERAL,
        **dict.fromkeys(NESTED, _NO_LITERAL),
    },
)


def _type_rows() -> Iterator[tuple[Any, ...]]:
    for kind, entry in _TYPES.items():
        if isinstance(entry, Refused):
            continue
        number, size, quotes, parameters, radix, subcode = entry
        prefix, suffix = quotes or (None, None)
        is_number = radix is not None
        yield (
            *(kind, number, size, prefix, suffix, parameters),
            1,  # nulls are allowed
            kind == "STRING",
            3 if kind == "STRING" else 2,  # LIKE is for texts
            kind.startswith("U") if is_number else None,
            False,
            False if is_number else None,
            kind,
            (0 if kind == "DECIMAL" or kind in INTEGERS else None),
            (38 if kind == "DECIMAL" else 0 if kind in INTEGERS else None),
            9 if subcode is not None else number,
            *(subcode, radix, None),
        )


# ---- what SQL can do ----


def _bits(*places: int) -> int:
    return sum(1 << place for place in places)


class Bitmask(int):
    """A number that is a set of bits, or one of an enum: to Flight SQL a type of its own."""


_SYNTAX: dict[int, Any] = {
    500: False,  # no CREATE CATALOG
    501: False,  # no CREATE SCHEMA
    502: True,
    503: 2,  # names without quotes are in upper case
    504: '"',
    505: 0,  # quoted ones are as they are, for which there is no value
    506: True,
    507: 1,  # nulls are less than all values
    508: [],  # keywords beyond those of SQL: the functions tell
    509: "ABS CEIL EXP FLOOR LN LOG10 MOD POWER RAND ROUND SIGN SQRT".split(),
    510: "CONCAT LEFT LENGTH LOWER LTRIM REPLACE RIGHT RTRIM SUBSTRING TRIM UPPER".split(),
    511: "COALESCE IFNULL NULLIF".split(),
    512: "CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DATE_TRUNC EXTRACT".split(),
    513: "\\",
    514: "",
    515: True,
    516: True,
    517: [],  # conversions: CAST, and no CONVERT
    518: True,
    519: False,
    520: True,
    521: True,
    522: Bitmask(_bits(0, 1)),
    523: True,
    524: True,
    525: Bitmask(_bits(0, 1)),
    526: Bitmask(_bits(0)),
    527: False,
    528: Bitmask(_bits(2)),
    529: "schema",
    530: "",
    531: "",  # there are no catalogs
    532: False,
    533: Bitmask(_bits(1)),
    534: Bitmask(0),
    535: Bitmask(0),
    536: False,
    537: False,
    538: Bitmask(_bits(0, 1, 2, 3)),
    539: True,
    540: Bitmask(_bits(0, 1)),
    **dict.fromkeys(range(541, 562), 0),  # no limits, or none that is known
    543: 1024,
    556: True,
    559: 1024,
    562: 3,  # a transaction sees the grid as it was at its beginning
    563: True,
    564: Bitmask(_bits(0, 3)),
    565: False,
    566: False,
    567: Bitmask(_bits(1)),
    568: Bitmask(_bits(1)),
    569: Bitmask(_bits(1)),
    570: Bitmask(0),
    571: Bitmask(0),
    572: True,
    573: False,
    574: False,
    575: True,
    576: False,
}
_SERVER: dict[int, Any] = {
    0: "Gridflow",
    1: VERSION,
    2: pa.__version__,
    3: False,
    4: True,
    5: False,
    8: Bitmask(1),  # transactions, and no savepoints
    9: True,
    10: True,
    11: True,
}


def _sql_info(command: Any, infos: dict[int, Any]) -> pa.Table:
    known = _SERVER | _SYNTAX | infos
    wanted = [number for number in dict.fromkeys(command.info) if number in known] if command.info else sorted(known)
    children: list[list[Any]] = [[] for _ in range(6)]
    places, offsets = [], []
    for number in wanted:
        value = known[number]
        if number == 517:
            place, value = 5, []
        elif isinstance(value, str):
            place = 0
        elif isinstance(value, bool):
            place = 1
        elif isinstance(value, Bitmask) or number in (503, 505, 507, 100, 101):
            place = 3
        elif isinstance(value, list):
            place = 4
        else:
            place = 2
        places.append(place)
        offsets.append(len(children[place]))
        children[place].append(value)
    arrays = [pa.array(values, _SQL_INFO_VALUE.field(i).type) for i, values in enumerate(children)]
    union = pa.UnionArray.from_dense(
        pa.array(places, pa.int8()), pa.array(offsets, _int), arrays, [f.name for f in _SQL_INFO_VALUE]
    )
    schema = SCHEMAS["CommandGetSqlInfo"]
    return pa.Table.from_arrays([pa.array(wanted, pa.uint32()), union.cast(schema.field(1).type)], schema=schema)
