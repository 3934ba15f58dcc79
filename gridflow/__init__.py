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
from .table import Table
from .transaction import Transaction

__version__ = VERSION

__all__ = [
    "Cache",
    "ColumnNotFoundError",
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
    "GridNotFoundError",
    "GridOwnedError",
    "GridVersionError",
    "GridflowError",
    "InternalError",
    "KeyNotFoundError",
    "QueryTimeoutError",
    "Schema",
    "SchemaError",
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


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "sample_from"):
        from . import tf

        return getattr(tf, name)
    return old_attribute(__name__, name, OLD_NAMES)
