"""A grid as a PEP 249 database: for pandas, notebooks, pools of connections.

    from gridflow import dbapi

    with dbapi.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT NAME FROM KITTENS WHERE WEIGHT > ?", [1])
        cursor.fetchall()

Parameters are ``?`` with a sequence, or ``:name`` with a mapping. Threads may share the module and connections, but no
cursor. The first statement begins a transaction, a query too, and ``commit`` or ``rollback`` ends it: until then the
connection sees the grid as it was at that statement. A connection that is closed without ``commit`` rolls back, and
warns if that takes changes back. CREATE TABLE and all else that cannot be part of a transaction commits by itself, and
is an error where changes wait for ``commit``. With ``connect(autocommit=True)`` each statement commits by itself, but
between BEGIN and COMMIT. Every error is one of the classes here and one of ``gridflow``'s at once: ``except
IntegrityError`` and ``except gridflow.DuplicateKeyError`` both see it.
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
