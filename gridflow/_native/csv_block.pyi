from collections.abc import Iterable

import pyarrow as pa

from gridflow.schema import Type

class PlainCsv:
    def __init__(
        self, types: list[Type], fields: list[int], delimiter: str, quote: str | None, null_texts: bool
    ) -> None: ...
    @staticmethod
    def known(types: Iterable[Type], delimiter: str) -> bool: ...
    def read(self, text: bytes) -> list[pa.Array] | None: ...
