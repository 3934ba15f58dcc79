"""Errors of the libraries that read files: each becomes one of ours, and says where in the file it happened."""

from __future__ import annotations

import csv
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ...errors import GridCorruptError, GridflowError, InternalError, SchemaError, UsageError

_ABSENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
#: What libraries raise over bytes that are damaged, and over those that are not what they expect.
_DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_MISFIT = (
    pa.ArrowException,
    ValueError,
    ArithmeticError,
    SyntaxError,
    RuntimeError,  # also that something is nested too deeply, or not implemented
    csv.Error,
    tokenize.TokenError,
)


@contextmanager
def reading(path: Path, place: str = "", form: str = "") -> Iterator[None]:
    """Turn errors of libraries in the block into ours, which name the file.

    Args:
        path: the file.
        place: the part of it that is read in the block, such as "row group 3".
        form: the format that it is opened as; else its rows are being read.

    Raises:
        UsageError: there is no such file, it is not of that format, or more memory is needed than there is.
        SchemaError: a value is not as it should be.
        GridCorruptError: the file is damaged.
        InternalError: nothing that a file can be blamed for.
    """
    try:
        yield
    except GridflowError:
        raise
    except Exception as error:
        raise _ours(error, path, f"{path}, {place}" if place else str(path), form) from error


def _ours(error: Exception, path: Path, where: str, form: str) -> GridflowError:
    why = str(error).strip() or type(error).__name__
    if isinstance(error, _ABSENT):
        return UsageError(f"{where} cannot be read: {getattr(error, 'strerror', None) or why}")
    if isinstance(error, MemoryError):
        return UsageError(f"{where} takes more memory than there is: {why}")
    if isinstance(error, _DAMAGE):
        return GridCorruptError(f"{where}: {why}", str(path))
    if isinstance(error, _MISFIT):
        return UsageError(f"{where} cannot be read as {form}: {why}") if form else SchemaError(f"{where}: {why}")
    return InternalError(f"{where}: {type(error).__name__}: {why}")
