"""A grid as a PEP 249 database: for pandas, notebooks, pools of connections.

    from gridflow import dbapi

    with dbapi.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT NAME FROM KITTENS WHERE WEIGHT > ?", [1])
        cursor.fetchall()

Parameters are ``?`` with a sequence, or ``:name`` with a mapping. Threads may share the module and connections, but no
cursor. Every statement commits by itself, unless ``connect(autocommit=False)`` or BEGIN asks for more. Every error is
one of the classes here and one of ``gridflow``'s at once: ``except IntegrityError`` and ``except
gridflow.DuplicateKeyError`` both see it.
"""

from .connection import Connection, connect
from .cursor import Cursor
from .errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from .types import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)

apilevel = "2.0"
threadsafety = 2
paramstyle = "qmark"  # ``named`` works, too

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]
