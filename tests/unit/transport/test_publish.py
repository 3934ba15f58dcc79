"""Versions of tables at a URL: what is published is what comes back, and of two publishers nobody loses anything."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

import gridflow
import gridflow.testing
from gridflow.errors import (
    GridAccessError,
    GridConnectionError,
    GridCorruptError,
    GridNotFoundError,
    GridVersionError,
    SchemaError,
    TableNotFoundError,
    UsageError,
    VersionNotFoundError,
)
from gridflow.transport import publish as publishing
from gridflow.transport.clone import clone
from gridflow.transport.place import Place, shown_url
from gridflow.transport.prune import prune
from gridflow.transport.publish import publish
from gridflow.transport.published import quoted, unquoted
from gridflow.transport.url_source import UrlSource

ROWS = 5000


@pytest.fixture
def grid(home: Path) -> Iterator[gridflow.Grid]:
    """A lived-in table T: loaded, updated, deleted from, with rows in memory."""
    with gridflow.testing.verified(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE", "S": "VARCHAR"}, key="ID")
        table.load({"ID": np.arange(ROWS), "X": np.arange(ROWS) / 2, "S": [f"row {i}" for i in range(ROWS)]})
        table.put_all((i, {"X": -1.0, "S": "updated"}) for i in range(0, ROWS, 100))
        table.flush()
        table.remove_all(range(1, ROWS, 500))
        table.put(ROWS, {"X": 0.0, "S": "in memory"})
        yield grid


def rows(grid: gridflow.Grid, table: str = "T", version: str | int | None = None) -> list[dict]:
    return sorted(grid.table(table).to_arrow(version=version).to_pylist(), key=lambda row: row["ID"])


def cloned(url: str, folder: Path) -> list[dict]:
    """The rows of the newest version of T at a URL, as a grid that was cloned has them."""
    clone(url, folder)
    gridflow.testing.verify(folder)
    with gridflow.connect(folder) as grid:
        return rows(grid)


def test_what_is_published_comes_back(grid, url, home):
    assert grid.table("T").publish(url) == 1
    assert cloned(url, home / "clone") == rows(grid)


def test_a_version_that_is_published_again_copies_only_what_is_new(grid, url, home):
    table = grid.table("T")
    table.publish(url)
    before = {entry.name for entry in Place(url).list("files")}
    table.put(-1, {"X": 0.5, "S": "new"})
    table.remove(3)
    assert table.publish(url) == 2
    new = [entry for entry in Place(url).list("files") if entry.name not in before]
    assert 0 < sum(entry.bytes for entry in new) < 4096
    assert cloned(url, home / "clone") == rows(grid)


def test_a_kept_version_and_tags(grid, url, home):
    table = grid.table("T")
    table.tag("before")
    old = rows(grid)
    table.put(1, {"X": 9.0, "S": "later"})
    assert table.publish(url, tag="later") == 1
    assert table.publish(url, version="before", tag="first") == 2
    assert cloned(url, home / "clone") == old
    source = UrlSource(url)
    assert source.version("T", "later").number == 1 and source.version("T", "first").number == 2
    assert source.version("t").number == source.version("SQL_PUBLIC_T", 2).number == 2
    assert source.version("T").tags == {"first": 2, "later": 1}
    table.put(1, {"X": 10.0, "S": "later still"})
    with pytest.raises(UsageError, match="version 1 of table T .* has the tag later"):
        table.publish(url, tag="later")
    with pytest.raises(UsageError, match="cannot be a tag"):
        table.publish(url, tag="7")
    for version in ("none", 3, 0, True):
        with pytest.raises(VersionNotFoundError, match=r"its tags are first \(version 2\), later \(version 1\)"):
            source.version("T", version)
    with pytest.raises(TableNotFoundError, match="there is T"):
        source.version("U")
    with pytest.raises(VersionNotFoundError):
        table.publish(url, version="none")


def test_several_tables_are_published_as_they_are_at_one_moment(grid, url, home):
    other = grid.create_table("U", {"ID": "LONG", "X": "LONG"}, key="ID")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with grid.transaction() as transaction:
                transaction.table("T").put(0, {"X": float(number), "S": "both"})
                transaction.table("U").put(0, {"X": number})
                transaction.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(3):
            while other.get(0) is None:
                pass
            assert publish(grid.home, ["T", "U"], url) == {"T": turn + 1, "U": turn + 1}
            clone(url, home / f"clone {turn}")
            with gridflow.connect(home / f"clone {turn}") as copy:
                assert copy.table("T").get(0)["X"] == copy.table("U").get(0)["X"]
    finally:
        stop.set()
        writer.join()


def test_two_grids_may_publish_the_same_table(grid, url, home):
    grid.table("T").publish(url)
    with gridflow.testing.verified(home / "other") as other:
        table = other.create_table("T", {"ID": "LONG", "S": "VARCHAR"}, key="ID")
        table.put_all((i, {"S": "theirs"}) for i in range(10))
        assert table.publish(url) == 2
        assert cloned(url, home / "clone") == rows(other)
    assert grid.table("T").publish(url) == 3
    assert cloned(url, home / "again") == rows(grid)


def test_publishers_at_the_same_time_all_get_a_number(grid, url):
    """Whoever looks meanwhile finds versions that are whole."""
    table, made, found = grid.table("T"), [], []

    def publish_one(number: int) -> None:
        made.append(table.publish(url, tag=f"tag {number}"))

    threads = [threading.Thread(target=publish_one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    source = UrlSource(url)
    while any(thread.is_alive() for thread in threads):
        try:
            version = source.version("T")
        except GridNotFoundError:
            continue
        except TableNotFoundError:
            continue
        for file in version.files:
            assert sum(piece.size for _, piece in source.read(version.table_id, file, [(0, file.bytes)])) == file.bytes
        found.append(version.number)
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 7)) and found == sorted(found)
    assert sorted(source.version("T").tags.values()) == list(range(1, 7))


def test_who_comes_second_makes_its_version_on_top_of_the_first(grid, url, home, monkeypatch):
    """The other one publishes between the look and the document."""
    table = grid.table("T")
    table.publish(url)
    create, others = Place.create, []

    def create_late(self: Place, name: str, data: bytes) -> bool:
        if name.endswith("2.json") and not others:
            others.append(name)
            others.append(table.publish(url, tag="winner"))
        return create(self, name, data)

    monkeypatch.setattr(Place, "create", create_late)
    assert table.publish(url, tag="loser") == 3
    assert others[1] == 2
    assert UrlSource(url).version("T").tags == {"winner": 2, "loser": 3}
    assert cloned(url, home / "clone") == rows(grid)


def test_a_tag_stays_with_the_version_that_got_it_first(grid, url, home, monkeypatch):
    """Of two publishers with the same tag, and the same number, the second is refused and takes nothing away."""
    table = grid.table("T")
    create, others = Place.create, []

    def create_late(self: Place, name: str, data: bytes) -> bool:
        if name.endswith("1.json") and not others:
            others.append(name)
            with gridflow.connect(home / "other") as other:
                other.create_table("T", {"ID": "LONG"}, key="ID").publish(url, tag="may")
        return create(self, name, data)

    monkeypatch.setattr(Place, "create", create_late)
    with pytest.raises(UsageError, match="version 1 of table T .* has the tag may"):
        table.publish(url, tag="may")
    assert others and UrlSource(url).version("T", "may").number == 1 and UrlSource(url).versions("T") == [1]


def test_tables_are_published_together_or_not_at_all(grid, url):
    """What keeps one of them from it is found before the first is there; what was published counts as done."""
    other = grid.create_table("U", {"ID": "LONG"}, key="ID")
    other.put(1, {})
    other.publish(url, tag="may")
    other.put(2, {})
    with pytest.raises(UsageError, match="table U .* has the tag may"):
        publish(grid.home, ["T", "U"], url, tag="may")
    assert UrlSource(url).tables() == ["U"] and len(Place(url).list("files")) == 1
    assert publish(grid.home, ["U"], url, tag="june") == {"U": 2}  # as of a publisher that was killed before T
    for _ in range(2):
        assert publish(grid.home, ["T", "U"], url, tag="june") == {"T": 1, "U": 2}


def test_no_two_tables_have_one_number(grid, url, monkeypatch):
    """It follows from the name: of two that are new in one call, too."""
    monkeypatch.setattr(publishing, "table_id_of", lambda table: 7)
    grid.create_table("U", {"ID": "LONG"}, key="ID")
    with pytest.raises(SchemaError, match="rename one of them"):
        publish(grid.home, ["T", "U"], url)
    assert UrlSource(url).tables() == []


def test_a_table_without_versions_is_none(grid, url, home):
    """A publisher that was killed leaves its tag: there is no such table, a clone goes by it, and a prune takes it."""
    grid.table("T").publish(url, tag="may")
    for name in ("tables/t/0000000001@may", "tables/U/0000000001@may", "tables/T/0000000002@june"):
        Place(url).write(name, b"x")
    assert UrlSource(url).tables() == ["T"]
    assert cloned(url, home / "clone") == rows(grid)
    prune(url, 1)
    assert len(Place(url).find("tables")) == 5  # their publishers may be at work
    if Place(url).now() is not None:
        prune(url, 1, grace=0)
        assert Place(url).find("tables") == ["T/0000000001.json", "T/0000000001@may"]


def test_a_file_that_is_gone_or_cut_off_is_copied_again(grid, url, home):
    """Whatever documents say of it."""
    table = grid.table("T")
    table.publish(url)
    place = Place(url)
    first, second, *_ = sorted(place.list("files"), key=lambda entry: -entry.bytes)
    place.remove(f"files/{first.name}")
    place.write(f"files/{second.name}", b"cut off")
    assert table.publish(url) == 2
    assert cloned(url, home / "clone") == rows(grid)


def test_a_file_that_goes_while_it_is_published_is_copied_again(grid, url, home, monkeypatch):
    """As a prune takes what was copied more than a day ago."""
    create, gone = Place.create, []

    def create_late(self: Place, name: str, data: bytes) -> bool:
        if name.endswith("1.json") and not gone:
            gone.extend(self.list("files")[:1])
            self.remove(f"files/{gone[0].name}")
        return create(self, name, data)

    monkeypatch.setattr(Place, "create", create_late)
    grid.table("T").publish(url, tag="may")
    assert gone and cloned(url, home / "clone") == rows(grid)
    assert UrlSource(url).version("T", "may").number == UrlSource(url).version("T").number


def test_what_names_no_folder_is_refused(grid, home, monkeypatch):
    """A word alone may be a table whose URL was forgotten: no folder of that name is made."""
    monkeypatch.chdir(home)
    for url in ("", "U", "./U", "../U", "file://U", "grid://box", "grid+tls://box:1", "s3://bucket/x?y", "gs://b/x#y"):
        with pytest.raises(UsageError):
            grid.table("T").publish(url)
    assert [path.name for path in home.iterdir()] == ["grid"]
    assert grid.table("T").publish(f"{home}/a?b") == 1  # a path is a path
    assert Place(f"{home}/a?b").url == f"{home}/a?b" and (home / "a?b" / "gridflow.json").exists()


def test_no_name_leaves_the_folder(grid, home):
    names = ["../../up", "a/b", ".hidden", "sp ace", "ÄÖ%2E", "C:\\x", "@v1.json", "~root"]
    assert [unquoted(quoted(name)) for name in names] == names
    assert not any(set("/\\.~") & set(quoted(name)) for name in names)
    assert unquoted("..") is None and unquoted("a%2fb") is None
    for name in names:
        grid.create_table(name, {"ID": "LONG"}, key="ID").publish(f"file://{home}/place")
    assert {path.name for path in home.iterdir()} == {"grid", "place"}
    assert UrlSource(f"file://{home}/place").tables() == sorted(names)


def test_a_url_in_messages_has_no_password():
    assert shown_url("s3://key:secret@bucket/grid?token=x#y") == "s3://bucket/grid"
    with pytest.raises(UsageError) as caught:
        Place("nosuch://me:secret@host/x")
    assert "secret" not in str(caught.value)


def test_nothing_there(url, home):
    with pytest.raises(GridNotFoundError, match="nothing was published at"):
        clone(url, home / "clone")
    assert not (home / "clone").exists() or not (home / "clone" / "catalog").exists()


# ---- damage ----


def corrupt(url: str, name: str, at: int) -> None:
    """Change a byte of a file."""
    place = Place(url)
    data = bytearray(place.read(name))
    data[at] ^= 0x40
    place.write(name, bytes(data))


def test_a_damaged_file_is_named_with_its_block(grid, url, home):
    grid.table("T").publish(url)
    largest = max(Place(url).list("files"), key=lambda entry: entry.bytes)
    corrupt(url, f"files/{largest.name}", largest.bytes // 2)
    with pytest.raises(GridCorruptError, match=r"\.seg.*block 0") as caught:
        clone(url, home / "clone")
    assert caught.value.offset
    assert not (home / "clone" / "catalog").exists()


def test_a_header_that_is_damaged_at_the_url_does_no_harm(grid, url, home):
    """A reader takes it from the document."""
    grid.table("T").publish(url)
    largest = max(Place(url).list("files"), key=lambda entry: entry.bytes)
    corrupt(url, f"files/{largest.name}", 40)
    assert cloned(url, home / "clone") == rows(grid)


def test_a_missing_file_is_named(grid, url, home):
    grid.table("T").publish(url)
    largest = max(Place(url).list("files"), key=lambda entry: entry.bytes)
    Place(url).remove(f"files/{largest.name}")
    with pytest.raises(GridNotFoundError, match=largest.name):
        clone(url, home / "clone")


def test_a_file_that_is_damaged_in_the_grid_is_not_published(grid, home):
    grid.table("T").flush()
    path = max((grid.home / "tables" / "1").glob("*.seg"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    copy = home / "damaged"
    shutil.copytree(grid.home, copy, ignore=lambda *_: {"LOCK"})
    (copy / "tables" / "1" / path.name).write_bytes(data)
    with pytest.raises(GridCorruptError, match=path.name):
        publish(copy, ["T"], f"file://{home}/place")
    assert UrlSource(f"file://{home}/place").tables() == []


def document(home: Path, grid: gridflow.Grid) -> tuple[str, Path, dict]:
    url = f"file://{home}/place"
    grid.table("T").publish(url)
    path = home / "place" / "tables" / "T" / "0000000001.json"
    return url, path, json.loads(path.read_text())


def test_a_document_of_a_newer_format_is_refused(grid, home):
    url, path, said = document(home, grid)
    path.write_text(json.dumps(said | {"format": 2}))
    with pytest.raises(GridVersionError, match="use a newer one"):
        UrlSource(url).version("T")
    with pytest.raises(GridVersionError):
        grid.table("T").publish(url)  # on top of what nobody here can read


def test_every_field_of_a_document_is_checked(grid, home):
    """Each is left out, and replaced by values of other kinds: an error that names the document, and nothing else."""
    url, path, said = document(home, grid)
    wrong = [None, True, -1, 1.5, 1 << 70, "", "../../etc/passwd", "\0", [], [1], {}, {"a": 1}, "AAAA"]
    free = {"created", "nonce", "tag", "options", "origin"}  # any text, or any object, will do
    cases = [(said | {name: value}) for name in said for value in wrong if name not in free]
    cases += [{name: value for name, value in said.items() if name != left_out} for left_out in set(said) - {"tag"}]
    for name in said["files"][0]:
        for value in wrong:
            cases.append(said | {"files": [said["files"][0] | {name: value}, *said["files"][1:]]})
    cases += [said | {"files": said["files"][1:]}, said | {"files": []}]
    for options in (
        {"SYS.VERSIONS": {}},
        {"cache_name": 5},
        {"cache_name": "SYS.USERS"},
        {"compressed": "all"},
        {"sql": 5},
        {"sql": {"template": 5}},
        {"sql": {"indexes": [1]}},
        {"sql": {"indexes": {"I": {"id": 1, "column_ids": [1], "columns": []}}}},
    ):
        cases.append(said | {"options": options})
    for case in cases:
        path.write_text(json.dumps(case))
        with pytest.raises((GridCorruptError, GridVersionError)) as caught:
            UrlSource(url).version("T")
        assert "0000000001.json" in str(caught.value)
    for text in ("", "[]", "{", '{"format": 1}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(GridCorruptError):
            UrlSource(url).version("T")
    path.write_text(json.dumps(said))
    assert UrlSource(url).version("T").number == 1


def test_a_system_table_at_a_url_is_damage(grid, home):
    url, path, said = document(home, grid)
    users = path.parent.with_name("SYS%2EUSERS") / path.name
    users.parent.mkdir()
    users.write_text(json.dumps(said | {"table": "SYS.USERS"}))
    with pytest.raises(GridCorruptError, match="'SYS.USERS' cannot be a table name"):
        clone(url, home / "clone")


def test_a_tag_without_its_document_is_none(grid, home):
    """Its publisher was killed, or another one was faster."""
    url, path, _ = document(home, grid)
    (path.parent / "0000000001@stolen").write_text("x")
    (path.parent / "0000000002@early").write_text("x")
    source = UrlSource(url)
    for tag in ("stolen", "early"):
        with pytest.raises(VersionNotFoundError):
            source.version("T", tag)
    assert source.version("T").number == 1
    assert grid.table("T").publish(url, tag="early") == 2
    assert source.version("T", "early").number == 2


# ---- places ----


def test_a_place_where_the_second_writes_over_the_first_is_refused(grid, monkeypatch):
    system = fsspec.filesystem("memory")

    def pipe_file(self: object, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
        with system.open(path, "wb") as file:
            file.write(value)

    monkeypatch.setattr(type(system), "pipe_file", pipe_file)
    with pytest.raises(UsageError, match="written over by whoever comes second"):
        grid.table("T").publish("memory://careless/place")


def test_a_place_that_does_not_let_us_is_an_access_error(grid, s3, monkeypatch):
    import s3fs

    grid.table("T").publish(s3)

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", refuse)
    with pytest.raises(GridAccessError, match="credentials"):
        grid.table("T").publish(s3)


def test_what_fails_for_a_moment_is_asked_again(grid, monkeypatch, home):
    url = "memory://moments/place"
    system = type(fsspec.filesystem("memory"))
    calls = {"cat_file": 0, "ls": 0, "pipe_file": 0}
    monkeypatch.setattr("gridflow.transport.place.FIRST_PAUSE", 0.001)

    def failing(name: str):
        actual = getattr(system, name)

        def call(self: object, *arguments: object, **named: object) -> object:
            calls[name] += 1
            if calls[name] % 2:
                raise ConnectionResetError("cut off")
            return actual(self, *arguments, **named)

        return call

    for name in calls:
        monkeypatch.setattr(system, name, failing(name))
    assert grid.table("T").publish(url) == 1
    assert cloned(url, home / "clone") == rows(grid)
    assert all(calls.values())


def test_a_place_that_does_not_answer_is_a_connection_error(grid, s3, monkeypatch):
    import s3fs
    from botocore.exceptions import EndpointConnectionError

    async def fail(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://key:hidden@nowhere")

    monkeypatch.setattr("gridflow.transport.place.FIRST_PAUSE", 0.001)
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", fail)
    with pytest.raises(GridConnectionError, match="EndpointConnectionError") as caught:
        grid.table("T").publish(s3)
    assert "hidden" not in str(caught.value)


def test_a_number_counts_and_no_clock(grid, home, monkeypatch):
    """A publisher whose clock is wrong does not become the newest, nor stay the oldest."""
    url, path, said = document(home, grid)
    path.write_text(json.dumps(said | {"created": "2999-01-01T00:00:00+00:00"}))
    assert grid.table("T").publish(url) == 2
    assert UrlSource(url).version("T").number == 2
