"""Every error Gridflow raises.

    GridflowError
    |-- UsageError (ValueError)       you asked for something that cannot be
    |   |-- TableNotFoundError        (KeyError)
    |   |-- TableExistsError
    |   |-- ColumnNotFoundError       (KeyError)
    |   |-- KeyNotFoundError          (KeyError)
    |   |-- VersionNotFoundError      (KeyError): no such tag, or the version is not kept
    |   |-- DuplicateKeyError
    |   |-- SchemaError               (TypeError): wrong type, shape or null
    |   |   `-- StructureError        a cache value differs from the cache's structure
    |   |-- SqlError
    |   |   `-- QueryTimeoutError     (TimeoutError): a statement has met its time limit
    |   `-- GridClosedError
    |-- TransactionConflictError      (RuntimeError): another writer was faster; run the transaction again. Retryable
    |-- GridEnvironmentError          (RuntimeError): the data or the machine is not as it should be
    |   |-- GridOwnedError            (BlockingIOError): another process owns the grid
    |   |-- TableBusyError            (TimeoutError): another writer holds the table for too long. Retryable
    |   |-- GridFullError             (OSError, errno ENOSPC)
    |   |-- GridNotFoundError         (FileNotFoundError)
    |   |-- GridAccessError           (PermissionError)
    |   |-- GridCorruptError          (ValueError): has .file and .offset
    |   |-- GridVersionError          (ValueError): written by a newer Gridflow; has .file
    |   |-- GridConnectionError       (ConnectionError)
    |   `-- DeviceError               no GPU, driver or compiler, or too little memory; has .code
    `-- InternalError                 (RuntimeError): a bug of ours, please report it

Each class also derives from the builtin that a caller would catch without knowing Gridflow; those below it do, too.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .deprecation import old_attribute

#: Names that these classes had before, as attributes of this module and of ``gridflow``.
OLD_NAMES = {
    "ColumnNotFound": "ColumnNotFoundError",
    "GridNotFound": "GridNotFoundError",
    "KeyNotFound": "KeyNotFoundError",
    "SnapshotNotFound": "VersionNotFoundError",
    "TableExists": "TableExistsError",
    "TableNotFound": "TableNotFoundError",
}

if not TYPE_CHECKING:  # type checkers shall know what is not there

    def __getattr__(name: str) -> Any:
        return old_attribute(__name__, name, OLD_NAMES)


class GridflowError(Exception):
    """Base of every error that Gridflow raises.

    What it is about is said in its message, and where it is known also by attributes, which are None where it is not.
    They go with the error to another process.

    Attributes:
        retryable: whether nothing was done, and the same call may succeed when it is made again, though nobody
            changes anything. So of the class: ``TransactionConflictError`` and ``TableBusyError`` are.
        table, column: their names.
        key: of a row, as ``Table.get`` takes it.
        line: of the text of the statement, or of the file that is read; from 1.
        filename: what the system refused, or was not found. An error that is an ``OSError``, too, has ``errno`` and
            ``strerror`` as well.
    """

    retryable: ClassVar[bool] = False
    table: str | None = None
    key: Any = None
    column: str | None = None
    line: int | None = None
    filename: Any = None

    def __init__(
        self,
        *args: object,
        table: str | None = None,
        key: Any = None,
        column: str | None = None,
        line: int | None = None,
        filename: str | None = None,
    ):
        super().__init__(*args)
        add_place(self, table=table, key=key, column=column, line=line, filename=filename)

    def __str__(self) -> str:  # KeyError would show repr(message)
        return str(self.args[0]) if self.args else ""


_Class = TypeVar("_Class", bound=type[GridflowError])


def _system_error(code: int) -> Callable[[_Class], _Class]:
    """Give a class what an ``OSError`` has, of this error of the system."""

    def decorate(cls: _Class) -> _Class:
        vars_of_class = {"errno": code, "strerror": os.strerror(code), "filename": None}
        for name, value in vars_of_class.items():  # OSError's own of these names would take no value of a class
            setattr(cls, name, value)
        return cls

    return decorate


class UsageError(GridflowError, ValueError):
    """What was asked for cannot be done; the grid itself is fine."""


class TableNotFoundError(UsageError, KeyError):
    """The grid has no table of that name."""


class TableExistsError(UsageError):
    """The grid already has a table of that name."""


class ColumnNotFoundError(UsageError, KeyError):
    """The table has no column of that name."""


class KeyNotFoundError(UsageError, KeyError):
    """The table has no row under that key."""


class VersionNotFoundError(UsageError, KeyError):
    """The table has no tag of that name, or the version of that number is not kept."""


class DuplicateKeyError(UsageError):
    """A row under that key exists already."""


class SchemaError(UsageError, TypeError):
    """A value does not fit its column: wrong type, shape, range or a null."""


class StructureError(SchemaError):
    """A value put in a cache differs in structure from the first one."""


class SqlError(UsageError):
    """An SQL statement does not parse, or names or compares what it cannot."""


@_system_error(errno.ETIMEDOUT)
class QueryTimeoutError(SqlError, TimeoutError):
    """A statement has run for as long as it may (SET QUERY_TIMEOUT): nothing of it was done."""


class GridClosedError(UsageError):
    """The grid was closed, or was opened before this process was forked."""


class TransactionConflictError(GridflowError, RuntimeError):
    """A row that a transaction has written is not the one any more that it has seen: nothing of it was applied."""

    retryable = True


class GridEnvironmentError(GridflowError, RuntimeError):
    """The data or the machine is not as it should be."""


@_system_error(errno.EAGAIN)
class GridOwnedError(GridEnvironmentError, BlockingIOError):
    """Another process owns the grid and does not serve it."""


@_system_error(errno.ETIMEDOUT)
class TableBusyError(GridEnvironmentError, TimeoutError):
    """Another writer has held the table for too long; nothing was done. The message says who it is."""

    retryable = True


@_system_error(errno.ENOSPC)
class GridFullError(GridEnvironmentError, OSError):
    """There is no room left; nothing of the write was kept and the grid stays readable."""


@_system_error(errno.ENOENT)
class GridNotFoundError(GridEnvironmentError, FileNotFoundError):
    """There is no grid, or a file or directory that must be there is not."""


@_system_error(errno.EACCES)
class GridAccessError(GridEnvironmentError, PermissionError):
    """The grid's directory may not be read or written by this user."""


class GridCorruptError(GridEnvironmentError, ValueError):
    """A file of the grid is damaged. ``file`` and ``offset`` (bytes) say where."""

    def __init__(self, message: str = "", file: str | None = None, offset: int | None = None, **place: Any):
        super().__init__(message, **place)
        self.file = file
        self.offset = offset


class GridVersionError(GridEnvironmentError, ValueError):
    """A file of the grid was written in a format that this version of Gridflow does not know. ``file`` says which."""

    def __init__(self, message: str = "", file: str | None = None, **place: Any):
        super().__init__(message, **place)
        self.file = file


@_system_error(errno.ENOTCONN)
class GridConnectionError(GridEnvironmentError, ConnectionError):
    """The owner of the grid cannot be reached, or went away."""


class DeviceError(GridEnvironmentError):
    """A GPU, its driver, the compiler of its kernels or its memory is missing, or failed.

    ``code`` says which: NO_DRIVER, NO_COMPILER, NO_DEVICE, NO_MEMORY or FAILED.
    """

    def __init__(self, message: str = "", code: str = "FAILED", **place: Any):
        super().__init__(message, **place)
        self.code = code


class InternalError(GridflowError, RuntimeError):
    """A bug in Gridflow: please report it with the message."""


_Error = TypeVar("_Error", bound=GridflowError)


def add_place(error: _Error, **place: Any) -> _Error:
    """Say of an error what it is about, where it does not know that itself.

    Args:
        error: which.
        place: ``table``, ``key``, ``column``, ``line``, ``filename``; None where it is not known.

    Returns:
        The error.
    """
    for name, value in place.items():
        if value is not None and getattr(error, name) is None:
            setattr(error, name, value)
    return error


@contextmanager
def about(**place: Any) -> Iterator[None]:
    """Say of each error in the block what it is about; see ``add_place``."""
    try:
        yield
    except GridflowError as error:
        add_place(error, **place)
        raise


def reworded(error: _Error, message: str, **place: Any) -> _Error:
    """The same error with another message, and what else is known of its place (see ``add_place``).

    >>> reworded(KeyNotFoundError("no row", table="T", key=1), "table T has no row 1").key
    1
    """
    other = type(error)(message)
    other.__dict__.update(error.__dict__)
    return add_place(other, **place)


def os_failure(error: OSError, what: str, *, of_grid: bool = False) -> GridEnvironmentError:
    """The error to raise for a call of the operating system that failed.

    Args:
        error: of the system.
        what: begins the message.
        of_grid: whether a file or directory of a grid was asked for: that is not found where it is not there.
    """
    cls: type[GridEnvironmentError] = GridAccessError
    why = error.strerror
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        cls, why = GridFullError, "no room left"
    elif error.errno == errno.ENOENT and of_grid:
        cls = GridNotFoundError
    elif error.errno == errno.ELOOP:
        why = "it is a symbolic link, and a grid's files are its own"
    known = isinstance(error.filename, (str, bytes, os.PathLike))
    failure = cls(f"{what}: {why}", filename=os.fsdecode(error.filename) if known else None)
    if error.errno is not None:
        vars(failure).update(errno=error.errno, strerror=error.strerror)
    return failure


def did_you_mean(name: str, known: Iterable[str], *, most: int = 20) -> str:
    """Words for the end of a message: the nearest known name, then what exists instead."""
    names = sorted(known)
    if not names:
        return "there are none yet"
    upper = {n.upper(): n for n in names}
    near = difflib.get_close_matches(name.upper(), upper, n=1, cutoff=0.6)
    listing = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    hint = f"did you mean {upper[near[0]]}? " if near else ""
    return f"{hint}there are {listing}" if len(names) > 1 else f"{hint}there is {listing}"
