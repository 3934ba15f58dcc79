"""Source: where the sealed files of a grid come from. Nothing else knows if that is a directory, a node or a URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

#: Bytes [begin, end) of a file.
Range = tuple[int, int]


@dataclass(frozen=True)
class SealedFile:
    """A file that never changes: a segment, a deletion bitmap or a list of deleted rows.

    Attributes:
        name: in its table's folder; no other file of the table ever has it.
        bytes: how many it has.
        fingerprint: 64 bits that follow from its content (``core/sealed_file.h``).
    """

    name: str
    bytes: int
    fingerprint: int


@dataclass(frozen=True)
class Version:
    """One version of a table, and all that a copy of it needs.

    Attributes:
        table: the table's name, as the grid writes it.
        table_id: its number in the grid, which names its folder.
        number: of the version.
        manifest: the bytes of the manifest's file.
        files: what the manifest names.
        options: the table's, as the catalog has them.
        tags: of the table: each with the number of its version.
        grid: the identity of the grid that has said so, where another may answer at the same address; else "".
    """

    table: str
    table_id: int
    number: int
    manifest: bytes
    files: tuple[SealedFile, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    grid: str = ""


class Source(Protocol):
    """Any thread may call any method, several at a time."""

    @property
    def address(self) -> str:
        """How people and ``connect`` name the grid. It holds no password."""

    def identity(self) -> str:
        """The grid's, 32 hex digits: the same by whatever way it is reached.

        Raises:
            GridNotFoundError: there is no grid.
            GridConnectionError: it cannot be reached.
        """

    def tables(self) -> list[str]:
        """The names of its tables, in order."""

    def version(self, table: str, version: int | str | None = None) -> Version:
        """A version of a table: the newest, which has what was acknowledged before the call, or a kept one.

        Args:
            table: its name, in any case, or its cache's.
            version: the number or the tag of one that is kept.

        Raises:
            TableNotFoundError: there is no such table.
            VersionNotFoundError: the version is not kept, or was never there.
            GridConnectionError: the source cannot be reached.
        """

    def read(self, table_id: int, file: SealedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, pa.Buffer]]:
        """Bytes of a file, as they come: where a piece begins in the file, and the piece.

        The pieces of a range come in order and without gaps, one range after the other, none larger than a few MiB.
        They are not checked: whoever writes them down compares checksums first.

        Raises:
            GridNotFoundError: the file is gone: its version was compacted away.
            GridConnectionError: the source cannot be reached, or was cut off; what came before is right.
        """

    def hold(self, version: Version) -> None:
        """Have the files of a version stay until ``release``, or until nothing is heard of this process any more.

        Raises:
            GridNotFoundError: one of them is gone.
        """

    def release(self, version: Version) -> None:
        """Let go of a version; each ``hold`` once."""

    def close(self) -> None:
        """Let go of the source. May be called again."""
