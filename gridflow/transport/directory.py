"""A grid's directory as a source, and what a version of a table there is made of."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import index
from pathlib import Path

import pyarrow as pa

from .._native.files import MappedFile
from .._native.mirror import fingerprint
from .._native.snapshot import Snapshot
from ..catalog import Catalog, TableEntry
from ..errors import GridEnvironmentError, GridNotFoundError, VersionNotFoundError
from ..registry import owned_grid
from ..storage.compressed_file import copy_name
from ..storage.expected_files import table_folder
from ..storage.identity import read_identity
from ..storage.versions import MANIFEST, describe, kept_versions, manifest_name
from .source import Range, SealedFile, Version

#: Bytes of a piece that ``read`` gives.
PIECE_BYTES = 1 << 20
#: A compaction would have to win a race so often in a row.
_TRIES = 100
_SEALED = re.compile(r"[0-9a-f]{16}\.(seg|del)")


def version_at(home: Path, entry: TableEntry, version: int | str | None = None) -> tuple[Version, Snapshot]:
    """A version of a table in a grid's directory as it is there, and the same mapped: nothing is flushed.

    Args:
        home: the grid's directory.
        entry: of the table in the catalog.
        version: the number or the tag of one that is kept; None for the current one.

    Raises:
        VersionNotFoundError: it is not kept.
        GridNotFoundError: the table was dropped meanwhile.
    """
    folder = table_folder(home, entry.table_id)
    failure: GridNotFoundError | None = None
    for _ in range(_TRIES):
        number = None if version is None else _number_of(folder, entry, version)
        try:
            return _read_version(home, folder, entry, number)
        except GridNotFoundError as error:  # a flush or a compaction was faster
            failure = error
    assert failure is not None
    raise failure


def _read_version(home: Path, folder: Path, entry: TableEntry, number: int | None) -> tuple[Version, Snapshot]:
    while True:
        current = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).exists() else b""
        if not current:
            raise GridNotFoundError(f"table {entry.name} of grid {home} was dropped", filename=str(folder))
        snapshot = Snapshot.open(str(home), entry.table_id, *([] if number is None else [number]))
        try:
            manifest = current if number is None else (folder / manifest_name(number)).read_bytes()
        except FileNotFoundError:  # the current one is kept only once another has replaced it
            manifest = current
        if (folder / MANIFEST).read_bytes() == current:
            break
    names = snapshot.files() - {copy_name(segment_id) for segment_id, _, _, _ in snapshot.segments()}
    files = tuple(SealedFile(name, *fingerprint(str(folder / name))) for name in sorted(names))
    options, tags = dict(entry.options), dict(entry.kept.tags)
    return Version(entry.name, entry.table_id, snapshot.version, manifest, files, options, tags), snapshot


def _number_of(folder: Path, entry: TableEntry, version: int | str) -> int:
    current = Snapshot.open(str(folder.parent.parent), entry.table_id).version
    versions = sorted({*kept_versions(folder, entry.kept, current), current})
    if isinstance(version, str) and version in entry.kept.tags:
        return entry.kept.tags[version]
    if not isinstance(version, bool | str) and hasattr(version, "__index__") and index(version) in versions:
        return index(version)
    what = f"tag {version}" if isinstance(version, str) else f"version {version!r} that is kept"
    raise VersionNotFoundError(f"table {entry.name} has no {what}; {describe(entry.kept, versions)}", table=entry.name)


def is_sealed(name: str) -> bool:
    """Whether a name is one of a sealed file, and so of no other file anywhere."""
    return _SEALED.fullmatch(name) is not None


def as_batches(pieces: Iterator[tuple[int, pa.Buffer]]) -> pa.RecordBatchReader:
    """Pieces of a file as Arrow Flight carries them: of each the bytes as a column, without a copy."""
    schema = pa.schema([pa.field("bytes", pa.uint8(), nullable=False)])

    def batch(piece: pa.Buffer) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.uint8(), piece.size, [None, piece])], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, [batch(piece) for _, piece in pieces])


def pieces(file: MappedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, pa.Buffer]]:
    """What ``Source.read`` gives of a mapped file: views."""
    whole = pa.py_buffer(file)
    for begin, end in ranges:
        for at in range(begin, end, PIECE_BYTES):
            yield at, whole.slice(at, min(PIECE_BYTES, end - at))


class HeldFiles:
    """Sealed files that stay readable though they are unlinked, as they are mapped. Any thread may call it.

    Args:
        home: the grid's directory.
    """

    def __init__(self, home: Path):
        self._home = home
        self._lock = threading.Lock()  # guards _files
        self._files: dict[tuple[int, SealedFile], tuple[MappedFile, int]] = {}  # and how many hold it

    def hold(self, version: Version) -> None:
        """Map the files of a version, or count one more who holds them.

        Raises:
            GridNotFoundError: one is gone; then none is held.
        """
        taken = []
        try:
            for file in version.files:
                taken.append(file)
                self._take((version.table_id, file))
        except BaseException:
            self._let_go(version.table_id, taken[:-1])
            raise

    def release(self, version: Version) -> None:
        """Let go of the files of a version, each ``hold`` once."""
        self._let_go(version.table_id, version.files)

    def _take(self, name: tuple[int, SealedFile]) -> None:
        with self._lock:
            mapped, count = self._files.get(name, (None, 0))
            self._files[name] = mapped if mapped is not None else self.open(*name), count + 1

    def _let_go(self, table_id: int, files: Sequence[SealedFile]) -> None:
        with self._lock:
            for file in files:
                mapped, count = self._files.pop((table_id, file))
                if count > 1:
                    self._files[table_id, file] = mapped, count - 1

    def open(self, table_id: int, file: SealedFile) -> MappedFile:
        """A file, mapped: one that is held, or is there.

        Raises:
            GridNotFoundError: it is gone, or another file has its name.
        """
        held = self._files.get((table_id, file))
        if held is not None:
            return held[0]
        path = table_folder(self._home, table_id) / file.name
        mapped = MappedFile(str(path))
        if len(mapped) != file.bytes:
            raise GridNotFoundError(f"{path} is another file by now: it has {len(mapped)} bytes, not {file.bytes}")
        return mapped


class DirectorySource:
    """The source that a grid's directory is; see ``source.Source``.

    Args:
        home: the directory.
        flush: has a table's newest rows flushed, given its name, where another process owns the grid.
    """

    def __init__(self, home: Path, flush: Callable[[str], object] | None = None):
        self._home = home
        self._flush = flush
        self._held = HeldFiles(home)

    @property
    def address(self) -> str:
        """The directory."""
        return str(self._home)

    def identity(self) -> str:
        """The grid's identity."""
        self._catalog()  # says that there is no grid
        identity = read_identity(self._home)
        if identity is None:
            raise GridEnvironmentError(
                f"grid {self._home} was written by an older Gridflow and has no identity yet: "
                f"gridflow.connect({str(self._home)!r}) gives it one"
            )
        return identity

    def _catalog(self) -> Catalog:
        return Catalog(self._home)

    def tables(self) -> list[str]:
        """The names of its tables."""
        return self._catalog().names

    def version(self, table: str, version: int | str | None = None) -> Version:
        """A version of a table."""
        entry = self._catalog().find(table)
        if version is None:
            owner = owned_grid(self._home)
            if owner is not None:
                owner.table(entry.name)._flush_to_read(waits=True)
            elif self._flush is not None:
                self._flush(entry.name)
        return version_at(self._home, entry, version)[0]

    def read(self, table_id: int, file: SealedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, pa.Buffer]]:
        """Bytes of a file."""
        return pieces(self._held.open(table_id, file), ranges)

    def hold(self, version: Version) -> None:
        """Keep the files of a version."""
        self._held.hold(version)

    def release(self, version: Version) -> None:
        """Let go of them."""
        self._held.release(version)

    def close(self) -> None:
        """Let go of what is held."""
        self._held = HeldFiles(self._home)
