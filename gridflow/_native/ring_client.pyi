from collections.abc import Sequence
from typing import Any

from gridflow._native.rows import RowCodec
from gridflow._native.table_store import TableStore

MOST_BYTES: int

class RingClosed(Exception):
    done: bool | None
    refused: bool
    reason: str

class RingFull(Exception):
    requests: int

class RingSilent(Exception): ...

class ClientRing:
    def __init__(self, path: str, bell: str) -> None: ...
    @property
    def closed(self) -> bool: ...
    def commit(
        self, table_id: int, columns: int, mode: int, operations: bytes, timeout: float
    ) -> int | bytes | None: ...
    def commit_put(
        self, table: TableStore, codec: RowCodec, mode: int, key: Any, value: Any, timeout: float
    ) -> int | bytes | None: ...
    def commit_removal(self, table: TableStore, key: Any, timeout: float) -> int | bytes | None: ...
    def commit_values(
        self,
        table: TableStore,
        codec: RowCodec,
        places: tuple[int, ...],
        fixed: tuple[Any, ...],
        values: Sequence[Any],
        timeout: float,
    ) -> int | bytes | None: ...
    def ask(self, message: bytes, timeout: float) -> int | bytes | None: ...
