"""What lies at a URL that versions of tables, or backups of grids, were copied to.

    <url>/gridflow.json                       the format, and what the place is called for good
    <url>/files/<grid>-<table id>-<fingerprint>-<bytes>-<name>
                                              sealed files, as their grid has them: each is of one content for good
    <url>/tables/<quoted NAME>/<number>.json  a version of a table: its manifest, and which files it is made of
    <url>/tables/<quoted NAME>/<number>@<quoted tag>
                                              empty: that version has the tag, if its document says so, too
    <url>/backups/<number>.json               a backup of a grid: its catalog, and of each table the same

A document is written when all files that it names are there, and only if there is none of that number: so whatever is
listed can be read, and of two publishers one is told that the other was faster. Numbers alone decide what is newest.

A table at a URL has numbers of its own, whatever grid its versions come from: of the table, which follows from its
name; of its versions; of its files, none of which is ever given again. Files are copied with the numbers that they have
in their grid, and a document has for each the header with the numbers that it has there; the reader puts one in the
place of the other. So a file is copied once, however many versions have it, and may come from a job that knows no
number.

Documents come from outside: every field is checked before anything is done with it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from .._native.sealed import ManifestBytes, read_head
from ..catalog.rules import check_copied_options, check_name
from ..errors import GridCorruptError, GridNotFoundError, GridVersionError, UsageError
from .place import Place
from .source import SealedFile

#: The number of the format; a document of a higher one is refused.
FORMAT = 1
PLACE, FILES, TABLES, BACKUPS = "gridflow.json", "files", "tables", "backups"
_DIGITS = 10
_DOCUMENT = re.compile(r"([0-9]{10})\.json")
_TAG = re.compile(r"([0-9]{10})@(.+)")
_IDENTITY = re.compile(r"[0-9a-f]{32}")
_FILE_NAME = re.compile(r"[0-9a-f]{16}\.(seg|del)")
_OBJECT = re.compile(r"[0-9a-f]{32}-[0-9]{1,10}-[0-9a-f]{16}-([0-9]{1,20})-[0-9a-f]{16}\.(?:seg|del)(?:-[0-9a-f]{8})?")
#: A document of more bytes is none.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class PublishedFile(SealedFile):
    """A sealed file at a URL.

    Attributes:
        source: its name in the folder of files there.
        head: its header, which counts instead of what the file begins with; empty: what it begins with counts.
    """

    source: str = ""
    head: bytes = b""


@dataclass(frozen=True)
class PublishedVersion:
    """A version of a table at a URL: what its document says.

    Attributes:
        table: the table's name.
        table_id: its number at the URL.
        number: of the version.
        tag: its tag, or None.
        manifest: with the numbers that it has there.
        files: what the manifest names.
        options: of the table, where it came from.
        origin: the grid, the number of the table, and that of the version which it was there; or of the job.
        created: when it was published, for people.
        nonce: tells it from another document of the same number.
    """

    table: str
    table_id: int
    number: int
    tag: str | None
    manifest: bytes
    files: tuple[PublishedFile, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    def document(self) -> bytes:
        """The bytes of its document."""
        return as_document(
            "version",
            table=self.table,
            table_id=self.table_id,
            number=self.number,
            tag=self.tag,
            created=self.created,
            nonce=self.nonce,
            origin=dict(self.origin),
            options=dict(self.options),
            manifest=base64.b64encode(self.manifest).decode(),
            files=[file_fields(file) for file in self.files],
        )


def file_fields(file: PublishedFile) -> dict[str, Any]:
    """What a document has of a file."""
    return {
        "name": file.name,
        "bytes": file.bytes,
        "fingerprint": f"{file.fingerprint:016x}",
        "source": file.source,
        "head": base64.b64encode(file.head).decode(),
    }


def as_document(kind: str, **fields: Any) -> bytes:
    """A document's bytes."""
    return (json.dumps({"format": FORMAT, "kind": kind, **fields}, indent=1) + "\n").encode()


# ---- names ----


def table_id_of(table: str) -> int:
    """The number of a table at a URL: it follows from the name, so that nobody has to be asked for one.

    >>> 0 < table_id_of("IMAGES") < 1 << 31
    True
    """
    return zlib.crc32(table.encode()) % ((1 << 31) - 1) + 1


def quoted(text: str) -> str:
    """A table's name, or a tag, as the name of a file: no ``/`` and no dot is left in it.

    >>> quoted("../a b"), quoted("IMAGES")
    ('%2E%2E%2Fa%20b', 'IMAGES')
    """
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def unquoted(name: str) -> str | None:
    """Undo ``quoted``; None for what it never gives."""
    text = unquote(name, errors="replace")
    return text if quoted(text) == name else None


def table_place(table: str) -> str:
    """The folder of a table's versions."""
    return f"{TABLES}/{quoted(table)}"


def document_name(folder: str, number: int) -> str:
    """The document of a version, or of a backup."""
    return f"{folder}/{number:0{_DIGITS}d}.json"


def tag_name(folder: str, number: int, tag: str) -> str:
    """What says that a version has a tag."""
    return f"{folder}/{number:0{_DIGITS}d}@{quoted(tag)}"


def object_name(identity: str, table_id: int, file: SealedFile) -> str:
    """What a grid's file is called in the folder of files."""
    return f"{identity}-{table_id}-{file.fingerprint:016x}-{file.bytes}-{file.name}"


def bytes_of(source: str) -> int:
    """How many bytes a copied file has, as its name says."""
    return int(source.split("-")[3])


def object_path(source: str) -> str:
    """Where a file lies."""
    return f"{FILES}/{source}"


# ---- documents ----


class Fields:
    """A document that came from outside, field by field.

    Args:
        data: its bytes.
        name: where it lies, for messages.
        kind: what it must be.

    Raises:
        GridCorruptError: it is no document of that kind.
        GridVersionError: it is of a newer format.
    """

    def __init__(self, data: bytes, name: str, kind: str):
        self.name = name
        try:
            value = json.loads(data) if len(data) <= _MOST_BYTES else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise GridCorruptError(f"{name} is damaged: it is no JSON object", name, 0)
        self._value = value
        number = self.number("format", 1)
        if number > FORMAT:
            raise GridVersionError(
                f"{name} is of format {number}, and this Gridflow knows those up to {FORMAT}: use a newer one", name
            )
        if self.text("kind") != kind:
            raise self.wrong("kind", kind)

    def of(self, value: Any, what: str) -> Fields:
        """A part of the document, an object."""
        if not isinstance(value, dict):
            raise self.wrong(what, "an object")
        part = object.__new__(Fields)
        part.name, part._value = f"{self.name}: {what}", value
        return part

    def wrong(self, name: str, expected: str) -> GridCorruptError:
        """The error for a field."""
        return GridCorruptError(f"{self.name} is damaged: field {name} is not {expected}", self.name.split(": ")[0], 0)

    def number(self, name: str, least: int = 0, most: int = (1 << 63) - 1) -> int:
        """A whole number."""
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"a number from {least} to {most}")
        return value

    def text(self, name: str, pattern: re.Pattern[str] | None = None, what: str = "a text") -> str:
        """A text."""
        value = self._value.get(name)
        if not isinstance(value, str) or (pattern is not None and not pattern.fullmatch(value)):
            raise self.wrong(name, what)
        return value

    def optional_text(self, name: str) -> str | None:
        """A text or null."""
        return None if self._value.get(name) is None else self.text(name)

    def binary(self, name: str) -> bytes:
        """Bytes, in base64."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except binascii.Error:
            raise self.wrong(name, "base64") from None

    def object(self, name: str) -> dict[str, Any]:
        """An object."""
        value = self._value.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        value = self._value.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return [self.of(item, f"{name}[{place}]") for place, item in enumerate(value)]

    def table(self, name: str, options: str, *, system: bool = False) -> tuple[str, dict[str, Any]]:
        """A table's name, and its options: those that a table can have."""
        table, found = self.text(name), self.object(options)
        try:
            check_name(table, system=system)
            check_copied_options(table, found)
        except UsageError as error:
            raise GridCorruptError(f"{self.name} is damaged: {error}", self.name.split(": ")[0], 0) from None
        return table, found

    def file(self) -> PublishedFile:
        """This part as what a document says of a file."""
        name = self.text("name", _FILE_NAME, "the name of a sealed file")
        size = self.number("bytes", 1)
        source = self.text("source", _OBJECT, "the name of a copied file")
        match = _OBJECT.fullmatch(source)
        if match is None or int(match[1]) != size:
            raise self.wrong("source", f"that of a file of {size} bytes")
        fingerprint = int(self.text("fingerprint", re.compile("[0-9a-f]{16}"), "16 hex digits"), 16)
        head = self.binary("head")
        if head:
            is_segment, head_bytes, file_bytes, _, _, _, _, header_crc, body_crc = read_head(head, self.name)
            known = (fingerprint ^ body_crc) & 0xFFFFFFFF if not is_segment else 0
            if head_bytes != len(head) or header_crc != fingerprint >> 32 or known or file_bytes not in (0, size):
                raise self.wrong("head", "the header of the file")
            if is_segment != name.endswith(".seg"):
                raise self.wrong("name", "that of such a file")
        return PublishedFile(name, size, fingerprint, source, head)

    def manifest(self, name: str, table_id: int, version: int, files: tuple[PublishedFile, ...]) -> bytes:
        """A manifest that names these files."""
        data = self.binary(name)
        said = ManifestBytes(data, f"{self.name}: {name}")
        if said.table_id != table_id or said.version != version:
            raise self.wrong(name, f"that of version {version} of table {table_id}")
        if {file for file, _, _ in said.files()} - {file.name for file in files}:
            raise self.wrong(name, "one of the files that are listed")
        return data


def parse_version(data: bytes, name: str, table: str, number: int) -> PublishedVersion:
    """The version of a document.

    Raises:
        GridCorruptError, GridVersionError: it is damaged, of another version, or of a newer format.
    """
    fields = Fields(data, name, "version")
    if fields.text("table") != table or fields.number("number", 1) != number:
        raise fields.wrong("number", f"{number} of table {table}")
    _, options = fields.table("table", "options")
    table_id = fields.number("table_id", 1, (1 << 32) - 2)
    files = tuple(part.file() for part in fields.objects("files"))
    if any(not file.head for file in files):
        raise fields.wrong("files", "a list of files with headers")
    manifest = fields.manifest("manifest", table_id, number, files)
    return PublishedVersion(
        table,
        table_id,
        number,
        fields.optional_text("tag"),
        manifest,
        files,
        options,
        fields.object("origin"),
        fields.text("created"),
        fields.text("nonce"),
    )


@dataclass(frozen=True)
class Listing:
    """What a folder of documents holds.

    Attributes:
        numbers: of the documents, rising.
        tags: what is said to have a tag: tag -> numbers, rising. The documents decide.
    """

    numbers: list[int]
    tags: dict[str, list[int]]

    @staticmethod
    def of(names: Iterable[str]) -> Listing:
        """Of the names in a folder, in order."""
        numbers: list[int] = []
        tags: dict[str, list[int]] = {}
        for name in names:
            document, tag = _DOCUMENT.fullmatch(name), _TAG.fullmatch(name)
            if document:
                numbers.append(int(document[1]))
            elif tag and (text := unquoted(tag[2])) is not None:
                tags.setdefault(text, []).append(int(tag[1]))
        return Listing(numbers, tags)

    @property
    def newest(self) -> int:
        """The highest number; 0 if there is none."""
        return self.numbers[-1] if self.numbers else 0


class PublishedPlace:
    """The documents at a URL. Any thread may use it.

    Args:
        url: of the folder.

    Attributes:
        place: the folder.
    """

    def __init__(self, url: str):
        self.place = Place(url)
        self._identity: str | None = None

    @property
    def url(self) -> str:
        """The URL, as messages have it."""
        return self.place.url

    def identity(self) -> str:
        """What the place is called for good.

        Raises:
            GridNotFoundError: nothing was published there.
            GridCorruptError, GridVersionError: the document is damaged, or of a newer format.
        """
        if self._identity is None:
            try:
                data = self.place.read(PLACE)
            except GridNotFoundError:
                raise GridNotFoundError(
                    f"nothing was published at {self.url}: 'gridflow publish TABLE {self.url}' does that",
                    filename=self.url,
                ) from None
            fields = Fields(data, self.place.shown(PLACE), "place")
            self._identity = fields.text("identity", _IDENTITY, "32 hex digits")
        return self._identity

    def prepare(self) -> str:
        """Make the place if it is not there; returns its identity.

        Raises:
            UsageError: two could publish there at the same time, and one be lost.
        """
        try:
            return self.identity()
        except GridNotFoundError:
            pass
        data = as_document("place", identity=secrets.token_hex(16))
        if self.place.create(PLACE, data):
            self.place.check_creating(PLACE, data)
        return self.identity()

    def listing(self, folder: str) -> Listing:
        """The documents of a folder."""
        return Listing.of([entry.name for entry in self.place.list(folder)])

    def listings(self) -> dict[str, Listing]:
        """The documents of all tables, by table; also of those that have only tags, of which nothing is published."""
        names: dict[str, list[str]] = {}
        for path in self.place.find(TABLES):
            folder, _, name = path.partition("/")
            table = unquoted(folder)
            if table is not None:
                names.setdefault(table, []).append(name)
        return {table: Listing.of(sorted(files)) for table, files in sorted(names.items())}

    def tables(self) -> list[str]:
        """The names of the tables, in order."""
        return [table for table, listing in self.listings().items() if listing.numbers]

    def version(self, table: str, number: int) -> PublishedVersion:
        """A version by its number.

        Raises:
            GridNotFoundError: it is not there.
            GridCorruptError, GridVersionError: its document is damaged, or of a newer format.
        """
        name = document_name(table_place(table), number)
        return parse_version(self.place.read(name), self.place.shown(name), table, number)


def check_table(table: str, options: Mapping[str, Any]) -> None:
    """Raise if a table cannot be published under its name, or with these options.

    Raises:
        UsageError, SchemaError: its name is too long for a file's, or none that a table can have; so of an option.
    """
    check_name(table)
    check_copied_options(table, options)
    if len(quoted(table)) > 240:
        raise UsageError(f"table {table} cannot be published: written as the name of a folder, its name is too long")
