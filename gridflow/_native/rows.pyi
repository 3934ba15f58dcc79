from typing import Any

from gridflow.schema import Schema

class RowCodec:
    python_schema: Schema
    table: str
    plain_value: bool
    value_names: tuple[str, ...]
    def __init__(self, schema: Schema, table: str) -> None: ...
    def partition_of(self, key: Any, partitions: int) -> int: ...
