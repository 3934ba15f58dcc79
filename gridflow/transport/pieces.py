"""Pieces: a job on many machines writes a table straight to a URL, and one commit publishes it.

    driver                          task i of n                              driver
    shares_of(...) routes rows ---> write_segments(..., share=(i, n)) ---> publish_pieces(all n pieces)
                                      sealed segments of its hash range         one document

A share of the table is a range of key hashes, so no two tasks can have the same key, and nobody has to look at what
others have written. Nothing is seen before the document is there; what a task has copied whose job failed goes with the
next prune but one.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._native.rows import RowCodec
from .._native.sealed import ManifestBytes, file_name, read_head, renumber_head
from .._native.segment_files import SegmentFiles, key_hashes
from ..config import DEFAULT_PARTITIONS, MAX_PARTITIONS
from ..errors import GridNotFoundError, SchemaError, UsageError
from ..schema import Schema
from ..storage.input_columns import to_columns
from ..storage.load import in_segments, row_batches
from .cut import held_file
from .publish import check_number, commit_all, gone, new_version, newest_version, tag_taken, tagged_version
from .published import (
    Fields,
    PublishedFile,
    PublishedPlace,
    PublishedVersion,
    as_document,
    check_table,
    file_fields,
    object_name,
    object_path,
    table_id_of,
)

#: More shares than this a table does not have.
MOST_SHARES = MAX_PARTITIONS


@dataclass(frozen=True)
class Piece:
    """What a task has written: it goes to the driver, pickled or as JSON.

    Attributes:
        place: what the URL is called for good.
        table: the table's name.
        share, shares: the range of key hashes that it is of, and into how many the table is divided.
        rows: how many there are.
        schema: the columns, as a manifest has them.
        files: the segments.
    """

    place: str
    table: str
    share: int
    shares: int
    rows: int
    schema: bytes
    files: tuple[PublishedFile, ...]

    def to_json(self) -> str:
        """As a text."""
        return as_document(
            "piece",
            place=self.place,
            table=self.table,
            share=self.share,
            shares=self.shares,
            rows=self.rows,
            schema=base64.b64encode(self.schema).decode(),
            files=[file_fields(file) for file in self.files],
        ).decode()

    @staticmethod
    def from_json(text: str) -> Piece:
        """Undo ``to_json``.

        Raises:
            GridCorruptError, GridVersionError: it is damaged, or of a newer format.
        """
        fields = Fields(text.encode(), "a piece", "piece")
        shares = fields.number("shares", 1, MOST_SHARES)
        files = tuple(part.file() for part in fields.objects("files"))
        if any(not file.head or not file.name.endswith(".seg") for file in files):
            raise fields.wrong("files", "a list of segments")
        return Piece(
            fields.text("place", re.compile("[0-9a-f]{32}"), "32 hex digits"),
            fields.text("table"),
            fields.number("share", 0, shares - 1),
            shares,
            fields.number("rows"),
            fields.binary("schema"),
            files,
        )

    def _same_rows(self, other: Piece) -> bool:
        return (self.rows, [file.fingerprint for file in self.files]) == (
            other.rows,
            [file.fingerprint for file in other.files],
        )


def shares_of(schema: Any, rows: Any, shares: int, *, key: str | Iterable[str] | None = None) -> np.ndarray:
    """To which share each row belongs, for whoever sends rows to tasks.

    Args:
        schema: of the table, a ``gridflow.Schema``, or columns as ``Schema.of`` takes them, with ``key``.
        rows: as ``write_segments`` takes them; only the key's columns need be there.
        shares: into how many the table is divided.

    Returns:
        A number from 0 to ``shares`` - 1 for each row.

    Raises:
        SchemaError, ColumnNotFoundError: the rows do not fit.

    >>> shares_of({"ID": "LONG"}, {"ID": [1, 2, 3]}, 4, key="ID").tolist()
    [2, 3, 2]
    """
    whole = _schema_of(schema, key)
    keys = Schema.of([(column.name, column.type) for column in whole.key_columns], whole.key)
    codec = RowCodec(keys, "of the job")
    parts = [
        _shares(key_hashes(codec, to_columns(batch.select(list(whole.key)), keys, codec.table)), _checked(shares))
        for batch in row_batches(rows, whole, codec.table)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def write_segments(
    url: str,
    table: str,
    schema: Any,
    rows: Any,
    *,
    share: tuple[int, int],
    key: str | Iterable[str] | None = None,
) -> Piece:
    """Write a share of a table as sealed segments to a URL, without any grid; see ``publish_pieces``.

    Args:
        url: of the folder, in any scheme of fsspec.
        table: the table's name.
        schema: of the table, the same in all tasks: a ``gridflow.Schema``, or columns as ``Schema.of`` takes them,
            with ``key``.
        rows: Arrow data or batches, a DataFrame, or a dict of numpy arrays, all of that share; see ``shares_of``.
        share: which, and of how many: ``(2, 8)`` is the third of eight.

    Returns:
        What ``publish_pieces`` needs of it.

    Raises:
        UsageError: a row belongs to another share.
        DuplicateKeyError: two rows have the same key.
        SchemaError, ColumnNotFoundError: the rows do not fit.
        GridAccessError, GridFullError, GridConnectionError: the URL cannot be written.
    """
    number, shares = share
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _checked(shares):
        raise UsageError(f"a share of {shares} is a number from 0 to {shares - 1}, not {number!r}")
    check_table(table, {})
    place = PublishedPlace(url)
    identity = place.prepare()
    codec = RowCodec(_schema_of(schema, key), table)
    job, count, files = secrets.token_hex(16), 0, []
    with tempfile.TemporaryDirectory(prefix="gridflow-") as folder, ExitStack() as stack:
        segments = SegmentFiles(codec, folder, min(4, os.cpu_count() or 1))
        for group in in_segments(row_batches(rows, codec.python_schema, table)):
            batches = [to_columns(batch, codec.python_schema, table) for batch in group]
            for batch in batches:
                _check_share(key_hashes(codec, batch), number, shares, table)
                count += len(batch[0])
            segments.add(batches)
        for place_in_job, path in enumerate(segments.paths(), 1):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            held = held_file(file_name(place_in_job, ".seg"), fd, path)
            source = object_name(job, 0, held)
            place.place.put(object_path(source), fd, held.bytes, held.check, lambda done: None)
            files.append(PublishedFile(held.name, held.bytes, held.fingerprint, source, held.head))
    return Piece(identity, table, number, shares, count, _schema_bytes(codec), tuple(files))


def publish_pieces(
    url: str,
    table: str,
    pieces: Iterable[Piece],
    *,
    tag: str | None = None,
    partitions: int = DEFAULT_PARTITIONS,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Publish what tasks have written, as one version of a table: it has the rows of all shares, and no others.

    A piece that comes twice, as from a task that ran twice, counts once. To call it again with the same arguments, as a
    driver does that was started again, gives the version that is there, as long as it has the tag or is the newest.

    Args:
        url: of the folder.
        table: the table's name.
        pieces: of every share, as ``write_segments`` has given them.
        tag: a name for the version.
        partitions: of the table.
        options: of the table.

    Returns:
        The number of the new version.

    Raises:
        UsageError: a share is missing, or was written twice with different rows; pieces are of different tables, of
            different divisions, or of another place.
        SchemaError: they have different columns; or a table cannot have that name, or so many partitions.
        GridNotFoundError: a file of them is gone, as a prune takes them after a day.
    """
    additions = _Pieces(url, table, list(pieces), tag, partitions, dict(options or {}))
    before = additions.before()
    return before if before is not None else commit_all(additions)[table]


class _Pieces:
    """A version of a table that pieces are made to."""

    def __init__(
        self, url: str, table: str, pieces: list[Piece], tag: str | None, partitions: int, options: dict[str, Any]
    ):
        self.tables, self.tag = [table], tag
        self._pieces = _chosen(table, pieces)
        self._files = [file for piece in self._pieces for file in piece.files]
        self._partitions, self._options = _checked_partitions(table, partitions), options
        check_table(table, options)
        self.place = PublishedPlace(url)
        if self._pieces[0].place != self.place.identity():
            raise UsageError(f"table {table}: these pieces were not written to {self.place.url}")

    def before(self) -> int | None:
        """The version that is there of the same pieces, with the tag, or else the newest; None if there is none.

        Raises:
            UsageError: another version has the tag.
        """
        (table,) = self.tables
        tagged = tagged_version(self.place, table, self.tag)
        version = tagged or newest_version(self.place, table)
        if version is not None and self._is_of(version):
            return version.number
        if tagged is not None:
            raise tag_taken(self.place, tagged)
        if version is None:
            check_number(self.place, table)
        return None

    def _is_of(self, version: PublishedVersion) -> bool:
        said = ManifestBytes(version.manifest, f"version {version.number} of {version.table}")
        return (
            len(self._files) > 0
            and {one.source for one in version.files} == {one.source for one in self._files}
            and version.tag == self.tag
            and version.options == self._options
            and said.partitions == self._partitions
        )

    def upload(self) -> None:
        for file in gone(self.place, self._files):
            raise GridNotFoundError(
                f"{self.place.place.shown(object_path(file.source))} is gone: a prune takes what nothing names after a "
                "day; run the task again that has written it"
            )

    def version(self, table: str, base: PublishedVersion | None, number: int) -> PublishedVersion:
        manifest, files = _version(table, self._pieces, base, number, self._partitions)
        return new_version(table, number, self.tag, manifest, files, self._options, {"pieces": len(self._pieces)})


def _schema_of(schema: Any, key: str | Iterable[str] | None) -> Schema:
    if isinstance(schema, Schema) and key is None:
        return schema
    if key is None:
        raise UsageError("name the key's columns with key=, or give a gridflow.Schema")
    return Schema.of(schema, key)


def _schema_bytes(codec: RowCodec) -> bytes:
    return ManifestBytes.first(codec, 1).schema_bytes


def _checked(shares: int) -> int:
    if isinstance(shares, bool) or not isinstance(shares, int) or not 1 <= shares <= MOST_SHARES:
        raise UsageError(f"a table is divided into 1 to {MOST_SHARES} shares, not {shares!r}")
    return shares


def _checked_partitions(table: str, partitions: int) -> int:
    if isinstance(partitions, bool) or not isinstance(partitions, int) or not 1 <= partitions <= MAX_PARTITIONS:
        raise SchemaError(f"table {table}: partitions is 1 to {MAX_PARTITIONS}, not {partitions!r}")
    return partitions


def _shares(hashes: np.ndarray, shares: int) -> np.ndarray:
    """``(hash * shares) >> 64``, of 64-bit numbers."""
    high, low = hashes >> np.uint64(32), hashes & np.uint64(0xFFFFFFFF)
    product = high * np.uint64(shares) + (low * np.uint64(shares) >> np.uint64(32))
    return (product >> np.uint64(32)).astype(np.int64)


def _check_share(hashes: np.ndarray, share: int, shares: int, table: str) -> None:
    actual = _shares(hashes, shares)
    wrong = np.flatnonzero(actual != share)
    if len(wrong):
        raise UsageError(
            f"table {table}: {len(wrong)} of {len(hashes)} rows do not belong to share {share} of {shares}, the first "
            f"of them to share {actual[wrong[0]]}: send rows to tasks by gridflow.transport.shares_of"
        )


def _chosen(table: str, pieces: list[Piece]) -> list[Piece]:
    """One piece of each share."""
    if not pieces:
        raise UsageError(f"table {table}: there are no pieces to publish")
    first = pieces[0]
    by_share: dict[int, Piece] = {}
    for piece in pieces:
        if piece.table != table:
            raise UsageError(f"a piece is of table {piece.table}, not of {table}")
        if (piece.shares, piece.place) != (first.shares, first.place):
            raise UsageError(
                f"table {table}: pieces of {first.shares} and of {piece.shares} shares do not fit together"
            )
        if piece.schema != first.schema:
            raise SchemaError(
                f"table {table}: shares {first.share} and {piece.share} have different columns", table=table
            )
        other = by_share.setdefault(piece.share, piece)
        if not piece._same_rows(other):
            raise UsageError(
                f"table {table}: share {piece.share} was written twice, with different rows ({other.rows} and "
                f"{piece.rows}): pass on one of the two pieces"
            )
    missing = [share for share in range(first.shares) if share not in by_share]
    if missing:
        listed = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise UsageError(f"table {table}: {len(missing)} of {first.shares} shares are missing: {listed}")
    return [by_share[share] for share in range(first.shares)]


def _version(
    table: str, pieces: list[Piece], base: PublishedVersion | None, number: int, partitions: int
) -> tuple[bytes, tuple[PublishedFile, ...]]:
    table_id = table_id_of(table)
    following = ManifestBytes(base.manifest, f"version {base.number} of {table}").next_file_id if base else 1
    segments, files = [], []
    for piece in pieces:
        for file in piece.files:
            head = renumber_head(file.head, file.name, table_id, following, 0)
            _, _, _, rows, _, _, _, header_crc, _ = read_head(head, file.name)
            fingerprint = header_crc << 32 | file.fingerprint & 0xFFFFFFFF
            files.append(PublishedFile(file_name(following, ".seg"), file.bytes, fingerprint, file.source, head))
            segments.append((following, 0, rows, 0, 0))
            following += 1
    empty = ManifestBytes.of_schema(pieces[0].schema, partitions, f"the pieces of table {table}")
    return empty.renumbered(table_id, number, 0, following, segments), tuple(files)
