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
    def ask(self, message: bytes, timeout: float) -> int | bytes | None: ...
