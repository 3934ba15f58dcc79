"""PEP 249's errors, and how Gridflow's become them.

Exception
|-- Warning
`-- Error
    |-- InterfaceError          a cursor or connection is used as it cannot be
    `-- DatabaseError
        |-- DataError           SchemaError
        |-- OperationalError    GridEnvironmentError and all below it, TransactionConflictError
        |-- IntegrityError      DuplicateKeyError
        |-- InternalError       gridflow.InternalError
        |-- ProgrammingError    UsageError: SqlError, TableNotFound, ...
        `-- NotSupportedError   what grids do not have
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from .. import errors


class Warning(Exception):  # the name is PEP 249's
    """Never raised: what Gridflow warns of goes through ``warnings``."""


class Error(Exception):
    """Base of all errors of this module."""


class InterfaceError(Error):
    """A connection or cursor is used as it cannot be: it is closed, or there is no result."""


class DatabaseError(Error):
    """Something is wrong with a statement, the data or the grid."""


class DataError(DatabaseError):
    """A value does not fit its column."""


class OperationalError(DatabaseError):
    """The grid or the machine is not as it should be: full, damaged, owned by another, gone; or a faster writer."""


class IntegrityError(DatabaseError):
    """A key is there already."""


class InternalError(DatabaseError):
    """A bug in Gridflow."""


class ProgrammingError(DatabaseError):
    """A statement does not parse, names what is not there, or has not the parameters it needs."""


class NotSupportedError(DatabaseError):
    """Grids do not have this."""


# The first that an error is an instance of.
_FAMILIES: tuple[tuple[type[errors.GridflowError], type[DatabaseError]], ...] = (
    (errors.DuplicateKeyError, IntegrityError),
    (errors.SchemaError, DataError),
    (errors.TransactionConflictError, OperationalError),
    (errors.UsageError, ProgrammingError),
    (errors.GridEnvironmentError, OperationalError),
    (errors.InternalError, InternalError),
    (errors.GridflowError, DatabaseError),
)


@cache
def _both(own: type[errors.GridflowError]) -> type[DatabaseError]:
    """A class that is PEP 249's and Gridflow's."""
    family = next(family for base, family in _FAMILIES if issubclass(own, base))
    return type(own.__name__, (family, own), {"__doc__": own.__doc__, "__module__": own.__module__})


@contextmanager
def translated() -> Iterator[None]:
    """Raise what Gridflow raises inside as an error of PEP 249 that still is what it was."""
    try:
        yield
    except Error:
        raise
    except errors.GridflowError as error:
        both = _both(type(error))(*error.args)  # type: ignore[arg-type]  # classes are hashable; mypy looks at instances
        both.__dict__.update(error.__dict__)
        raise both from error
