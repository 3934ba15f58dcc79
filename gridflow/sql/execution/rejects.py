"""The lines that COPY leaves out, in a file that tells why."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from ...storage.formats.csv_writer import CsvWriter
from ...storage.formats.source import Reject
from ...storage.formats.writing import WriteOptions, replacement

_SCHEMA = pa.schema(
    {"FILE": pa.large_string(), "LINE": pa.int64(), "ERROR": pa.large_string(), "TEXT": pa.large_string()}
)


class Rejects:
    """Counts what does not fit and writes it to a CSV file, if one is named, which is there when COPY has worked.

    One thread uses it. A context manager.

    Attributes:
        count: how many lines were left out.
    """

    def __init__(self, path: str | None):
        self.path = None if path is None else Path(path).expanduser()
        self.count = 0
        self._stack = ExitStack()
        self._writer: CsvWriter | None = None

    def __enter__(self) -> Rejects:
        if self.path is not None:
            file: Any = self._stack.enter_context(replacement(self.path))
            self._writer = CsvWriter(file, self.path, _SCHEMA, [None] * len(_SCHEMA), WriteOptions())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(self, path: Path, reject: Reject) -> None:
        """Leave out a line of a file."""
        self.count += 1
        if self._writer is not None:
            row = {"FILE": str(path), "LINE": reject.line, "ERROR": str(reject.error), "TEXT": reject.text}
            self._writer.write(pa.RecordBatch.from_pylist([row], _SCHEMA))
