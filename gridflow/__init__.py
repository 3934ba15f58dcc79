"""Gridflow: an embedded, in-memory, partitioned data grid for TensorFlow.

    import gridflow

    with gridflow.connect() as grid:
        grid.sql("CREATE TABLE IMAGES (ID LONG PRIMARY KEY, PIXELS UINT8[28,28], LABEL INT)")
        grid.table("IMAGES").load({"ID": ids, "PIXELS": pixels, "LABEL": labels})
        dataset = gridflow.Dataset("IMAGES", batch_size=128)

``connect`` is the way in. Importing gridflow does not import TensorFlow; using ``Dataset`` or
``sample_from`` does. docs/reference.md lists all of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .cache import Cache
from .config import VERSION
from .deprecation import old_attribute
from .errors import (
    OLD_NAMES,
    ColumnNotFoundError,
    DeviceError,
    DuplicateKeyError,
    GridAccessError,
    GridClosedError,
    GridConnectionError,
    GridCorruptError,
    GridEnvironmentError,
    GridflowError,
    GridFullError,
    GridNotFoundError,
    GridOwnedError,
    GridVersionError,
    InternalError,
    KeyNotFoundError,
    QueryTimeoutError,
    SchemaError,
    SqlError,
    StructureError,
    TableBusyError,
    TableExistsError,
    TableNotFoundError,
    TransactionConflictError,
    UsageError,
    VersionNotFoundError,
)
from .grid import Grid
from .open import connect
from .schema import Schema
from .session import Session
from .table import Table
from .transaction import Transaction

if TYPE_CHECKING:
    from .sql import Result
    from .tf import Dataset, Draw, Follow, Share, sample_from

__version__ = VERSION

__all__ = [
    "Cache",
    "ColumnNotFoundError",
    "Dataset",
    "DeviceError",
    "Draw",
    "DuplicateKeyError",
    "Follow",
    "Grid",
    "GridAccessError",
    "GridClosedError",
    "GridConnectionError",
    "GridCorruptError",
    "GridEnvironmentError",
    "GridFullError",
    "GridNotFoundError",
    "GridOwnedError",
    "GridVersionError",
    "GridflowError",
    "InternalError",
    "KeyNotFoundError",
    "QueryTimeoutError",
    "Result",
    "Schema",
    "SchemaError",
    "Session",
    "Share",
    "VersionNotFoundError",
    "SqlError",
    "StructureError",
    "Table",
    "TableBusyError",
    "TableExistsError",
    "TableNotFoundError",
    "Transaction",
    "TransactionConflictError",
    "UsageError",
    "connect",
    "sample_from",
]


#: What is imported when it is first used: TensorFlow, and the parser of SQL, take time to load.
_LATER = {
    "Result": "gridflow.sql",
    **dict.fromkeys(("Dataset", "Draw", "Follow", "Share", "sample_from"), "gridflow.tf"),
}

if not TYPE_CHECKING:  # type checkers shall know what is not there

    def __getattr__(name: str) -> Any:
        if name in _LATER:
            return getattr(importlib.import_module(_LATER[name]), name)
        return old_attribute(__name__, name, OLD_NAMES)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def _dataset_of(table: Table, arguments: dict[str, Any]) -> Any:
    return importlib.import_module("gridflow.tf").Dataset(table, **arguments)


Table._dataset_maker = _dataset_of


def _publish(*arguments: Any, **named: Any) -> dict[str, int]:
    from .transport.publish import publish

    return publish(*arguments, **named)


Table._publisher = _publish
