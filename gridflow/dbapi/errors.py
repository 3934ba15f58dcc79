"""PEP 249's errors, and the translation of Gridflow's into them.

Exception
|-- Warning
`-- Error
    |-- InterfaceError          a cursor or connection is used as it cannot be
    `-- DatabaseError
        |-- DataError           SchemaError
        |-- OperationalError    GridEnvironmentError and all below it, TransactionConflictError
        |-- IntegrityError      DuplicateKeyError
        |-- InternalError       gridflow.InternalError
        |-- ProgrammingError    UsageError: SqlError, TableNotFoundError, ...
        `-- NotSupportedError   what grids do not have
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

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


# Gridflow's class -> PEP 249's; the first match counts, so a base stands below its subclasses.
_FAMILIES: tuple[tuple[type[errors.GridflowError], type[DatabaseError]], ...] = (
    (errors.DuplicateKeyError, IntegrityError),
    (errors.SchemaError, DataError),
    (errors.TransactionConflictError, OperationalError),
    (errors.QueryTimeoutError, OperationalError),
    (errors.UsageError, ProgrammingError),
    (errors.GridEnvironmentError, OperationalError),
    (errors.InternalError, InternalError),
    (errors.GridflowError, DatabaseError),
)


@cache
def _combined_class(error_class: type[errors.GridflowError]) -> type[DatabaseError]:
    """A subclass of both PEP 249's class and Gridflow's, by the name of the latter."""
    family = next(family for base, family in _FAMILIES if issubclass(error_class, base))
    members = {"__doc__": error_class.__doc__, "__module__": error_class.__module__, "__reduce__": _reduced}
    return type(error_class.__name__, (family, error_class), members)


def _reduced(error: errors.GridflowError) -> tuple[Any, ...]:
    """How an error of two families is pickled: its class is made where it is read."""
    error_class = next(base for base in type(error).__mro__ if vars(errors).get(base.__name__) is base)
    return _combined, (error_class, error.args), error.__dict__


def _combined(error_class: type[errors.GridflowError], args: tuple[Any, ...]) -> DatabaseError:
    return _combined_class(error_class)(*args)  # type: ignore[arg-type]  # as below


@contextmanager
def translation() -> Iterator[None]:
    """Turn Gridflow's errors in the block into PEP 249's, which are instances of Gridflow's class as well."""
    try:
        yield
    except Error:
        raise
    except errors.GridflowError as error:
        # Classes are hashable; mypy looks at their instances.
        pep249_error = _combined_class(type(error))(*error.args)  # type: ignore[arg-type]
        pep249_error.__dict__.update(error.__dict__)
        raise pep249_error from error
