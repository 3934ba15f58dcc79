"""SQLAlchemy's dialect of a grid: ``create_engine("gridflow:///data/grid")``, for pandas, the ORM, Superset and others.

    gridflow://                          the default grid
    gridflow:///data/grid                the grid of a directory
    gridflow://box:10850                 a node; gridflow+tls:// with TLS
    gridflow://KATE:password@box         as a user of it
    gridflow:///data/grid?read_only=true&timeout=5      options of ``gridflow.connect``

What SQLAlchemy makes has the names that it was given: those of CREATE TABLE are quoted. Elsewhere a name in lower case
is not, so that ``kittens`` finds a table KITTENS, too.

A table needs a primary key. One that has none gets the columns with ``index=True``, which is how pandas declares a
frame's index; else CREATE TABLE is an error that says so. There are no sequences, foreign keys, checks or unique
constraints: the last are an error, the others a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import exc, pool, schema, types, util
from sqlalchemy.engine import default, reflection
from sqlalchemy.engine.url import URL
from sqlalchemy.sql import compiler

from ..errors import GridClosedError, GridConnectionError
from ..kinds import ByKind
from ..schema import Type, parse_type

PUBLIC, SYS = "PUBLIC", "SYS"
AUTOCOMMIT, SNAPSHOT = "AUTOCOMMIT", "SNAPSHOT"
_FLAGS = ("read_only", "embedded")
_SECRETS = {"username": "user", "password": "password"}


class Other(types.UserDefinedType[Any]):
    """A type that only a grid has: a tensor, a struct, a map. Its values are those of ``gridflow.Table``.

    Args:
        text: the type as CREATE TABLE has it, such as ``UINT8[28,28]``.
    """

    cache_ok = True

    def __init__(self, text: str):
        self.text = text

    def get_col_spec(self, **kw: Any) -> str:
        """The type, for CREATE TABLE."""
        return self.text

    def __repr__(self) -> str:
        return f"Other({self.text!r})"


#: Of each kind of column, SQLAlchemy's type.
_TYPES: ByKind[Callable[[Type], Any]] = ByKind(
    "types of SQLAlchemy",
    {
        "BOOL": lambda t: types.BOOLEAN(),
        "INT8": lambda t: types.SMALLINT(),
        "INT16": lambda t: types.SMALLINT(),
        "INT32": lambda t: types.INTEGER(),
        "INT64": lambda t: types.BIGINT(),
        "UINT8": lambda t: Other("UINT8"),
        "UINT16": lambda t: Other("UINT16"),
        "UINT32": lambda t: Other("UINT32"),
        "UINT64": lambda t: Other("UINT64"),
        "FLOAT16": lambda t: Other("FLOAT16"),
        "FLOAT32": lambda t: types.REAL(),
        "FLOAT64": lambda t: types.DOUBLE(),
        "DECIMAL": lambda t: types.DECIMAL(t.precision, t.scale),
        "STRING": lambda t: types.VARCHAR(),
        "BINARY": lambda t: types.LargeBinary(),
        "DATE": lambda t: types.DATE(),
        "TIME": lambda t: types.TIME(),
        "TIMESTAMP": lambda t: types.TIMESTAMP(timezone=t.utc) if t.unit in ("us", "") else Other(t.text()),
        "UUID": lambda t: types.UUID(),
        "TENSOR": lambda t: Other(t.text()),
        "LIST": lambda t: _list_of(t, t.children[0][1]),
        "STRUCT": lambda t: Other(t.text()),
        "MAP": lambda t: Other(t.text()),
    },
)


def _type_of(dtype: Type) -> Any:
    return _TYPES[dtype.kind](dtype)


def _list_of(dtype: Type, item: Type) -> Any:
    """A list, unless SQLAlchemy has none like it: of lists, or of items that are never null."""
    if item.kind == "LIST" or not item.nullable:
        return Other(dtype.text())
    return types.ARRAY(_type_of(item))


class _Types(compiler.GenericTypeCompiler):
    """The types of CREATE TABLE and CAST."""

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        return "REAL" if type_.precision is not None and type_.precision <= 24 else "DOUBLE"

    def visit_DOUBLE(self, type_: Any, **kw: Any) -> str:
        return "DOUBLE"

    visit_DOUBLE_PRECISION = visit_DOUBLE

    def visit_NUMERIC(self, type_: Any, **kw: Any) -> str:
        if type_.precision is None:
            return "DECIMAL(38, 10)" if type_.scale is None else f"DECIMAL(38, {type_.scale})"
        return f"DECIMAL({type_.precision}, {type_.scale or 0})"

    visit_DECIMAL = visit_NUMERIC

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:
        return f"VARCHAR({type_.length})" if type_.length else "VARCHAR"

    visit_CHAR = visit_NCHAR = visit_NVARCHAR = visit_VARCHAR

    def visit_CLOB(self, type_: Any, **kw: Any) -> str:
        return "VARCHAR"

    visit_TEXT = visit_NCLOB = visit_JSON = visit_CLOB

    def visit_large_binary(self, type_: Any, **kw: Any) -> str:
        return "BINARY"

    def visit_BINARY(self, type_: Any, **kw: Any) -> str:
        return "BINARY"

    visit_VARBINARY = visit_BLOB = visit_BINARY

    def visit_DATETIME(self, type_: Any, **kw: Any) -> str:
        return "TIMESTAMP_TZ" if type_.timezone else "TIMESTAMP"

    visit_TIMESTAMP = visit_DATETIME

    def visit_TIME(self, type_: Any, **kw: Any) -> str:
        return "TIME"

    def visit_uuid(self, type_: Any, **kw: Any) -> str:
        return "UUID" if type_.native_uuid else "VARCHAR(32)"

    def visit_UUID(self, type_: Any, **kw: Any) -> str:
        return "UUID"

    def visit_ARRAY(self, type_: Any, **kw: Any) -> str:
        item = self.process(type_.item_type, **kw)
        for _ in range((type_.dimensions or 1) - 1):
            item = f"LIST<{item}>"
        return f"LIST<{item}>"


class _Preparer(compiler.IdentifierPreparer):
    """Names, which are quoted unless they are plain and in lower case."""

    reserved_words = compiler.RESERVED_WORDS | set(
        "add alter any by date delete describe drop explain exists group index insert key kill list merge of order "
        "partition password qualify range rollback row rows set show start summarize table time timestamp to top "
        "truncate update use user values view when with".split()
    )


class _Quoting(_Preparer):
    """Names as they are to stay: all are quoted."""

    def _requires_quotes(self, value: str) -> bool:
        return True


class _Number(types.Numeric):
    """A number that SQLAlchemy takes for a decimal, which may be computed as another one."""

    cache_ok = True

    def result_processor(self, dialect: Any, coltype: Any) -> Callable[[Any], Any] | None:
        if self.asdecimal:
            return lambda value: value if value is None or isinstance(value, Decimal) else Decimal(str(value))
        return lambda value: None if value is None else float(value)


class _Statements(compiler.SQLCompiler):
    """Statements: queries and changes."""

    def limit_clause(self, select: Any, **kw: Any) -> str:
        text = ""
        if select._limit_clause is not None:
            text += "\n LIMIT " + self.process(select._limit_clause, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text

    def for_update_clause(self, select: Any, **kw: Any) -> str:
        return ""  # a transaction that writes what another has written fails

    def visit_empty_set_expr(self, element_types: Any, **kw: Any) -> str:
        return f"SELECT {', '.join('1' for _ in element_types or [None])} WHERE 1 <> 1"

    def visit_truediv_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        right = self.process(binary.right, **kw)
        if not issubclass(binary.right.type._type_affinity, types.Numeric):
            right = f"CAST({right} AS DOUBLE)"
        return f"{self.process(binary.left, **kw)} / {right}"

    def visit_mod_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} % {self.process(binary.right, **kw)}"

    def visit_is_distinct_from_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} IS DISTINCT FROM {self.process(binary.right, **kw)}"

    def visit_is_not_distinct_from_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} IS NOT DISTINCT FROM {self.process(binary.right, **kw)}"

    def returning_clause(self, stmt: Any, returning_cols: Any, **kw: Any) -> str:
        raise exc.CompileError("RETURNING is not there: SELECT the rows afterwards, by the keys that you gave")


class _Definitions(compiler.DDLCompiler):
    """CREATE TABLE and its kin."""

    def visit_create_table(self, create: Any, **kw: Any) -> str:
        table = create.element
        if not _key_of(table):
            raise exc.CompileError(
                f"table {table.name} needs a primary key: declare a column with primary_key=True; a frame of pandas "
                "has one with to_sql(..., index=True), which is its index"
            )
        for column in table.columns:
            if column.autoincrement is True or column.identity is not None:
                raise exc.CompileError(f"column {column.name}: autoincrement is not there: give each row its key")
        quoting = _Quoting.__new__(_Quoting)  # of this statement alone: a preparer keeps what it has quoted
        quoting.__dict__.update(self.preparer.__dict__, _strings={})
        self.preparer: Any = quoting
        return super().visit_create_table(create, **kw)

    def visit_create_column(self, create: Any, first_pk: bool = False, **kw: Any) -> str:
        return self.get_column_specification(create.element)

    def get_column_specification(self, column: Any, **kw: Any) -> str:
        text = f"{self.preparer.format_column(column)} {self.dialect.type_compiler_instance.process(column.type)}"
        value = self.get_column_default_string(column)
        if value is not None:
            text += f" DEFAULT {value}"
        in_key = any(column is one for one in _key_of(column.table))
        return text if column.nullable and not in_key else f"{text} NOT NULL"

    def create_table_constraints(self, table: Any, **kw: Any) -> str:
        of_columns = (constraint for column in table.columns for constraint in column.constraints)
        for constraint in (*table.constraints, *of_columns):
            if isinstance(constraint, schema.UniqueConstraint):
                raise exc.CompileError(
                    f"table {table.name}: there are no unique constraints beside the primary key; leave unique=True out"
                )
            if isinstance(constraint, (schema.ForeignKeyConstraint, schema.CheckConstraint)):
                what = "foreign keys" if isinstance(constraint, schema.ForeignKeyConstraint) else "checks"
                util.warn(f"table {table.name}: {what} are not kept by a grid")
        names = ", ".join(self.preparer.format_column(column) for column in _key_of(table))
        return f"PRIMARY KEY ({names})"

    def post_create_table(self, table: Any) -> str:
        options = table.dialect_options["gridflow"]["with"]
        return "" if not options else '\n WITH "{}"'.format(str(options).replace('"', '""'))

    def visit_create_index(self, create: Any, **kw: Any) -> str:
        index = create.element
        if index.unique:
            raise exc.CompileError(f"index {index.name}: there are no unique indexes; leave unique=True out")
        return super().visit_create_index(create, **kw)

    def _prepared_index_name(self, index: Any, include_schema: bool = False) -> str:
        return self.preparer.quote_identifier(index.name)

    def visit_drop_index(self, drop: Any, **kw: Any) -> str:
        exists = "IF EXISTS " if drop.if_exists else ""
        return f"DROP INDEX {exists}{self._prepared_index_name(drop.element)}"


def _key_of(table: Any) -> list[Any]:
    """The columns of the primary key that a table is to have."""
    return list(table.primary_key.columns) or [column for column in table.columns if column.index is True]


class GridflowDialect(default.DefaultDialect):
    """The dialect of ``gridflow://``."""

    name = "gridflow"
    driver = "gridflow"
    scheme = "grid"
    default_paramstyle = "qmark"
    statement_compiler = _Statements
    ddl_compiler = _Definitions
    type_compiler_cls = _Types
    preparer = _Preparer
    colspecs = {types.Numeric: _Number}
    construct_arguments = [(schema.Table, {"with": None})]
    default_schema_name = PUBLIC
    supports_statement_cache = True
    supports_alter = False
    supports_sane_rowcount = True
    supports_sane_multi_rowcount = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_native_uuid = True
    supports_multivalues_insert = True
    supports_default_values = False
    supports_empty_insert = False
    supports_sequences = False
    supports_comments = False
    insert_returning = False
    update_returning = False
    delete_returning = False
    postfetch_lastrowid = False
    favor_returning_over_lastrowid = False
    tuple_in_values = True
    max_identifier_length = 1024
    div_is_floordiv = True
    _json_serializer = _json_deserializer = None

    @classmethod
    def import_dbapi(cls) -> Any:
        """PEP 249's module."""
        from gridflow import dbapi

        return dbapi

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """The pool of connections."""
        return pool.QueuePool

    def create_connect_args(self, url: URL) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of ``dbapi.connect``. What is secret goes by itself: no address holds it."""
        options: dict[str, Any] = dict(url.query)
        for flag in _FLAGS:
            if flag in options:
                options[flag] = str(options[flag]).lower() in ("1", "true", "yes", "on")
        if "timeout" in options:
            options["timeout"] = float(options["timeout"])
        for mine, theirs in _SECRETS.items():
            if getattr(url, mine) is not None:
                options[theirs] = getattr(url, mine)
        home = None
        if url.host:
            port = f":{url.port}" if url.port else ""
            host = f"[{url.host}]" if ":" in url.host else url.host
            home = f"{self.scheme}://{host}{port}"
        elif url.database:
            home = url.database if url.database.startswith(("/", ":")) else f"/{url.database}"
        return [home], options

    def get_isolation_level_values(self, dbapi_conn: Any) -> list[Any]:
        """What there is."""
        return [SNAPSHOT, AUTOCOMMIT]

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        """A transaction sees the grid as it was when it began."""
        return SNAPSHOT

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """That of a connection."""
        return AUTOCOMMIT if dbapi_connection.autocommit else SNAPSHOT

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """Have each statement commit by itself, or not."""
        dbapi_connection.autocommit = level == AUTOCOMMIT

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        """Whether each statement commits by itself."""
        return bool(dbapi_conn.autocommit)

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether an error means that the connection is of no use any more."""
        return isinstance(e, (GridConnectionError, GridClosedError))

    def do_close(self, dbapi_connection: Any) -> None:
        """Close; what was not committed is rolled back, of which SQLAlchemy has its own ways to tell."""
        dbapi_connection.rollback()
        dbapi_connection.close()

    def _get_server_version_info(self, connection: Any) -> Any:
        from gridflow.config import VERSION

        return tuple(int(part) for part in re.findall(r"\d+", VERSION)[:3])

    def _get_default_schema_name(self, connection: Any) -> str:
        return PUBLIC

    # ---- reflection ----

    def _view(self, connection: Any, text: str, *params: Any) -> list[Any]:
        return list(connection.exec_driver_sql(text, params))

    def _names(self, connection: Any, schema: str | None) -> list[str]:
        """The tables of a schema, or the system views."""
        wanted = (schema or PUBLIC).upper()
        if wanted == PUBLIC:
            return [row[0] for row in self._view(connection, "SELECT TABLE_NAME FROM SYS.TABLES ORDER BY 1")]
        if wanted == SYS:
            return [row[0] for row in self._view(connection, "SELECT NAME FROM SYS.VIEWS ORDER BY 1")]
        return []

    def _found(self, connection: Any, name: str, schema: str | None) -> str:
        """The name of a table as the grid has it, by SQL's rule."""
        names = self._names(connection, schema)
        if name in names:
            return name
        if not getattr(name, "quote", None):
            near = [other for other in names if other.upper() == name.upper()]
            if name.upper() in near:
                return name.upper()
            if len(near) == 1:
                return near[0]
        raise exc.NoSuchTableError(name)

    @reflection.cache
    def get_schema_names(self, connection: Any, **kw: Any) -> list[str]:
        """PUBLIC and SYS."""
        return [PUBLIC, SYS]

    @reflection.cache
    def get_table_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """The tables of PUBLIC."""
        return self._names(connection, schema) if (schema or PUBLIC).upper() == PUBLIC else []

    @reflection.cache
    def get_view_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """The system views of SYS."""
        return self._names(connection, schema) if (schema or PUBLIC).upper() == SYS else []

    @reflection.cache
    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        """Whether there is a table or a view of that name."""
        try:
            self._found(connection, table_name, schema)
        except exc.NoSuchTableError:
            return False
        return True

    @reflection.cache
    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """The columns of a table or view."""
        name = self._found(connection, table_name, schema)
        if (schema or PUBLIC).upper() == SYS:
            text = "SELECT COLUMN_NAME, TYPE, NULLABLE, DEFAULT_VALUE FROM SYS.VIEW_COLUMNS WHERE VIEW_NAME = ?"
        else:
            text = (
                "SELECT COLUMN_NAME, TYPE, NULLABLE, DEFAULT_VALUE FROM SYS.TABLE_COLUMNS "
                "WHERE TABLE_NAME = ? ORDER BY ORDINAL_POSITION"
            )
        return [
            {
                "name": column,
                "type": _type_of(parse_type(dtype)),
                "nullable": nullable,
                "default": value,
                "autoincrement": False,
            }
            for column, dtype, nullable, value in self._view(connection, text, name)
        ]

    def _indexes(self, connection: Any, name: str) -> list[Any]:
        text = "SELECT INDEX_NAME, COLUMNS, IS_PK FROM SYS.INDEXES WHERE TABLE_NAME = ? ORDER BY INDEX_NAME"
        return [(index, _columns_of(columns), is_pk) for index, columns, is_pk in self._view(connection, text, name)]

    @reflection.cache
    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """The primary key."""
        name = self._found(connection, table_name, schema)
        for index, columns, is_pk in self._indexes(connection, name) if (schema or PUBLIC).upper() == PUBLIC else ():
            if is_pk:
                return {"constrained_columns": columns, "name": index}
        return {"constrained_columns": [], "name": None}

    @reflection.cache
    def get_indexes(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """The indexes of CREATE INDEX."""
        name = self._found(connection, table_name, schema)
        return [
            {"name": index, "column_names": columns, "unique": False}
            for index, columns, is_pk in self._indexes(connection, name)
            if not is_pk
        ]

    @reflection.cache
    def get_foreign_keys(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        self._found(connection, table_name, schema)
        return []

    @reflection.cache
    def get_unique_constraints(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        self._found(connection, table_name, schema)
        return []

    @reflection.cache
    def get_check_constraints(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        self._found(connection, table_name, schema)
        return []

    @reflection.cache
    def get_view_definition(self, connection: Any, view_name: str, schema: str | None = None, **kw: Any) -> str:
        """None: a system view has no text."""
        self._found(connection, view_name, schema)
        return ""


class GridflowTlsDialect(GridflowDialect):
    """The dialect of ``gridflow+tls://``."""

    driver = "tls"
    scheme = "grid+tls"
    supports_statement_cache = True


def _columns_of(text: str) -> list[str]:
    """The columns of an index, from the text of SYS.INDEXES.

    >>> _columns_of('ID, "two words" DESC, A ASC')
    ['ID', 'two words', 'A']
    """
    found = re.findall(r'(?:"((?:[^"]|"")+)"|([^,\s"]+))(?:\s+(?:ASC|DESC))?(?:,\s*|$)', text)
    return [quoted.replace('""', '"') or plain for quoted, plain in found]
