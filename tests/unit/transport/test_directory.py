"""A directory as a source: versions as they are, and the bytes of files, gone ones too while they are held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gridflow
from gridflow import Grid, GridNotFoundError, TableNotFoundError, VersionNotFoundError
from gridflow.storage.identity import read_identity
from gridflow.transport.directory import DirectorySource
from gridflow.transport.source import Version


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    """A grid with a table T of two segments, of which a row is deleted."""
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        for begin in (0, 100):
            for i in range(begin, begin + 50):
                grid.sql("INSERT INTO T VALUES (?, ?)", [i, f"row {i}"])
            grid.table("T").flush()
        grid.sql("DELETE FROM T WHERE ID = 3")
        yield grid


def content(source: DirectorySource, version: Version) -> dict[str, bytes]:
    """Every byte of a version's files, as ``read`` gives them."""
    result = {}
    for file in version.files:
        parts = [(0, file.bytes // 2), (file.bytes // 2, file.bytes)]
        at = 0
        for begin, piece in source.read(version.table_id, file, parts):
            assert begin == at
            at += piece.size
            result[file.name] = result.get(file.name, b"") + piece.to_pybytes()
        assert at == file.bytes
    return result


def test_version_is_what_lies_there(grid: Grid) -> None:
    """Writes that were acknowledged are in it; the files and the manifest are those of the folder."""
    source = DirectorySource(grid.home)
    version = source.version("T")
    folder = grid.home / "tables" / str(version.table_id)
    assert version.manifest == (folder / "manifest").read_bytes()
    assert content(source, version) == {file.name: (folder / file.name).read_bytes() for file in version.files}
    assert any(file.name.endswith(".del") for file in version.files)
    grid.sql("INSERT INTO T VALUES (1000, 'new')")
    assert source.version("T").number > version.number
    assert source.tables() == ["T"]
    with pytest.raises(TableNotFoundError):
        source.version("NONE")


def test_kept_versions_by_tag_and_number(grid: Grid) -> None:
    """A kept version is found by both, and another one is an error that says what there is."""
    number = grid.table("T").tag("v1")
    grid.sql("DELETE FROM T WHERE ID < 30")
    source = DirectorySource(grid.home)
    tagged = source.version("T", "v1")
    assert tagged == source.version("T", number)
    assert tagged.number == number != source.version("T").number
    assert tagged.tags == {"v1": number}
    for missing in ("v2", 999, True):
        with pytest.raises(VersionNotFoundError, match="v1"):
            source.version("T", missing)


def test_held_files_outlive_their_version(grid: Grid) -> None:
    """A version that was compacted away is read to its end by who holds it, and is an error for others."""
    source = DirectorySource(grid.home)
    version = source.version("T")
    source.hold(version)
    before = content(source, version)
    grid.table("T").compact()
    assert content(source, version) == before
    source.release(version)
    with pytest.raises(GridNotFoundError):
        content(source, version)
    with pytest.raises(GridNotFoundError):
        source.hold(version)


def test_fingerprints_tell_contents(grid: Grid, tmp_path: Path) -> None:
    """Two files of one name have other fingerprints, and equal ones the same in another place."""
    with gridflow.connect(tmp_path / "other") as other:
        other.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        for name in ("one", "two"):
            other.sql("INSERT INTO T VALUES (1, ?)", [name])
            other.table("T").flush()
            other.sql("DELETE FROM T")
        mine = {file.fingerprint for file in DirectorySource(grid.home).version("T").files}
        assert mine.isdisjoint(file.fingerprint for file in DirectorySource(other.home).version("T").files)


def test_identity_stays_and_is_its_own(tmp_path: Path) -> None:
    """A grid gets an identity when it is made, and an old one when its owner opens it; no two have the same."""
    seen = set()
    for name in ("one", "two"):
        with gridflow.connect(tmp_path / name) as grid:
            seen.add(DirectorySource(grid.home).identity())
    assert len(seen) == 2
    with gridflow.connect(tmp_path / "one") as grid:
        assert DirectorySource(grid.home).identity() in seen
    (tmp_path / "one" / "identity").unlink()
    assert read_identity(tmp_path / "one") is None
    with pytest.raises(gridflow.GridEnvironmentError, match="connect"):
        DirectorySource(tmp_path / "one").identity()
    with gridflow.connect(tmp_path / "one") as grid:
        assert read_identity(grid.home) not in seen
    (tmp_path / "one" / "identity").write_text("not hex")
    with pytest.raises(gridflow.GridCorruptError, match="32 hex digits"):
        gridflow.connect(tmp_path / "one")
