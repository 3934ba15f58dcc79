"""COPY: files become rows of a table, in one commit, and rows become files.

The files are read and written here, in the process whose user named them; the engine has no way to any.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...errors import SqlError
from ...faces import GridFace
from ..grammar.copy import CopyFrom, CopyTo
from ..grammar.literals import constant
from ..grammar.prepared import Prepared
from ..result import Result
from .copy_from import copy_from
from .copy_to import RunQuery, copy_to


def execute_copy(
    grid: GridFace, prepared: Prepared, params: Mapping[str, Any], query: RunQuery | None = None
) -> Result:
    """Run a COPY.

    Args:
        query: runs the text of a query whose rows are to be copied, where it is not to run here.

    Raises:
        UsageError: a file cannot be read or written, or is not of its format.
        SchemaError: a value does not fit; names the file, the line and the column. Nothing is kept.
        DuplicateKeyError: a key is there already; nothing is kept.
        TableNotFoundError, ColumnNotFoundError, SqlError: the statement names what is not there.
    """
    node = prepared.node
    path = _path(node, params)
    if isinstance(node, CopyTo):
        return copy_to(grid, node, prepared.text, path, params, query)
    return copy_from(grid, node, prepared.text, path)


def _path(node: CopyFrom | CopyTo, params: Mapping[str, Any]) -> str:
    path = constant(node.path)
    value = path.get(params) if path is not None else None
    name = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    if not name or "\0" in name:
        raise SqlError(f"COPY takes the name of a file, not {value!r}")
    return os.path.expanduser(name)
