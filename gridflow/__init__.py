"""Gridflow: an embedded, in-memory, partitioned data grid for TensorFlow.

    import gridflow

    with gridflow.connect() as grid:
        grid.sql("CREATE TABLE IMAGES (ID LONG PRIMARY KEY, PIXELS UINT8[28,28], LABEL INT)")
        grid.table("IMAGES").load({"ID": ids, "PIXELS": pixels, "LABEL": labels})
        dataset = gridflow.Dataset("IMAGES", batch_size=128)

``connect`` is the way in. Importing gridflow does not import TensorFlow; using ``Dataset`` or
``sample_from`` does.
"""

from typing import Any

from .cache import Cache
from .config import VERSION
from .errors import (
    ColumnNotFound,
    DeviceError,
    DuplicateKeyError,
    GridAccessError,
    GridClosedError,
    GridConnectionError,
    GridCorruptError,
    GridEnvironmentError,
    GridflowError,
    GridFullError,
    GridNotFound,
    GridOwnedError,
    GridVersionError,
    InternalError,
    KeyNotFound,
    QueryTimeoutError,
    SchemaError,
    SnapshotNotFound,
    SqlError,
    StructureError,
    TableBusyError,
    TableExists,
    TableNotFound,
    TransactionConflictError,
    UsageError,
)
from .grid import Grid
from .open import connect
from .schema import Schema
from .table import Table
from .transaction import Transaction

__version__ = VERSION

__all__ = [
    "Cache",
    "ColumnNotFound",
    "Dataset",
    "DeviceError",
    "DuplicateKeyError",
    "Grid",
    "GridAccessError",
    "GridClosedError",
    "GridConnectionError",
    "GridCorruptError",
    "GridEnvironmentError",
    "GridFullError",
    "GridNotFound",
    "GridOwnedError",
    "GridVersionError",
    "GridflowError",
    "InternalError",
    "KeyNotFound",
    "QueryTimeoutError",
    "Schema",
    "SchemaError",
    "SnapshotNotFound",
    "SqlError",
    "StructureError",
    "Table",
    "TableBusyError",
    "TableExists",
    "TableNotFound",
    "Transaction",
    "TransactionConflictError",
    "UsageError",
    "connect",
    "sample_from",
]


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "sample_from"):
        from . import tf

        return getattr(tf, name)
    raise AttributeError(f"module 'gridflow' has no attribute {name!r}")
