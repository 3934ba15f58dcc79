"""publish, clone, backup, restore and prune, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import gridflow
import gridflow.testing
from gridflow.cli.main import main


@pytest.fixture
def grid(home: Path) -> Path:
    with gridflow.connect(home / "grid") as grid:
        grid.sql("CREATE TABLE KITTENS (ID LONG PRIMARY KEY, NAME VARCHAR)")
        grid.sql("INSERT INTO KITTENS VALUES (1, 'WARM'), (2, 'SOFT')")
    return home / "grid"


def run(*words: object, error: str | None = None) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == (0 if error is None else 1), result.output
    assert error is None or error in result.output, result.output
    return result.output


def test_publish_and_clone(grid, home):
    url = f"file://{home}/place"
    assert run("publish", "kittens", url, "--home", grid, "--tag", "v1") == "KITTENS: version 1, tag v1\n"
    assert run("--home", grid, "publish", "KITTENS", url) == "KITTENS: version 2\n"
    assert (
        run("publish", "KITTENS", url, "--home", grid, "--tag", "v1") == "KITTENS: version 1, tag v1\n"
    )  # done before
    with gridflow.connect(grid) as changed:
        changed.sql("UPDATE KITTENS SET NAME = 'WARM AND SOFT' WHERE ID = 1")
    run("publish", "KITTENS", url, "--home", grid, "--tag", "v1", error="has the tag v1")
    run("publish", "PUPPIES", url, "--home", grid, error="no table PUPPIES")
    assert run("clone", url, home / "one") == f"made a grid in {home / 'one'}\n"
    run("clone", home / "two", "--home", grid)
    run("clone", grid, home / "two", error="there is a grid in")
    run("clone", "a", "b", "c", error="not 3 arguments")
    for name in ("one", "two"):
        with gridflow.connect(home / name) as copy:
            assert len(copy.table("KITTENS")) == 2
    assert run("prune", url, "--keep", 1, "--dry-run").startswith("would remove 0 versions")  # the older one has a tag
    run("prune", url, "--keep", 1, "--home", grid, error="leave that out")


def test_backup_and_restore(grid, home):
    url = f"file://{home}/place"
    assert run("backup", grid, url, "--verify").startswith("backup 1: 1 table, ")
    assert "of which 0 B were copied" in run("backup", url, "--home", grid)
    run("backup", grid, url, "--home", home, error="two grids are named")
    assert [line.split()[0] for line in run("backup", "ls", url).splitlines()] == ["1", "2"]
    assert run("restore", url, home / "one", "--backup", 1).startswith("backup 1 of ")
    run("restore", url, "--home", home / "two")
    run("restore", url, home / "three", "--backup", 3, error="there is no backup 3")
    expected = {"KITTENS": ("ID INT64 NOT NULL, NAME STRING, PRIMARY KEY (ID)", None)}
    for name in ("one", "two"):
        gridflow.testing.verify(home / name)
        with gridflow.connect(home / name) as copy:
            assert {table: (said[0], None) for table, said in gridflow.testing.contents(copy).items()} == expected
    assert run("prune", url, "--keep", 1).startswith("removed 0 versions, 1 backup, 0 files")


def test_what_names_no_folder_of_copies_or_no_directory_is_refused(grid, home, monkeypatch):
    """Nothing is written for it, and no password is shown."""
    monkeypatch.chdir(home)
    run("publish", "KITTENS", "PUPPIES", "--home", grid, error="'PUPPIES' is neither a URL nor an absolute path")
    run("backup", grid, "grid://box", error="grid://box is a node, and copies lie in a folder")
    url = f"file://{home}/place"
    run("publish", "KITTENS", url, "--home", "grid://box", error="gridflow clone grid://box:10850 DIR")
    run("backup", "--home", "memory://one", url, error="gridflow clone memory://one DIR")
    for words in (
        ("backup", "s3://key:secret@bucket/x", url),
        ("restore", url, "s3://key:secret@bucket/x"),
        ("clone", grid, "s3://key:secret@bucket/x"),
        ("backup", grid, "nosuch://key:secret@bucket/x"),
        ("tables", "--home", "nosuch://key:secret@bucket/x"),
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code != 0 and "bucket/x" in result.output, words
        assert "secret" not in result.output, result.output
    assert {path.name for path in home.iterdir()} == {"grid"}


def test_a_damaged_document_does_not_end_backups(grid, home):
    """The next backup goes on from an older one and says so; the list has it; a restore names the others."""
    url = f"file://{home}/place"
    run("backup", grid, url)
    damaged = home / "place" / "backups" / "0000000002.json"
    damaged.write_text("[]")
    run("restore", url, home / "one", error="that is the newest backup: name another by its number; older ones are 1")
    said = run("backup", grid, url)
    assert "0000000002.json is damaged" in said and "backup 3: 1 table" in said and "of which 0 B were copied" in said
    lines = run("backup", "ls", url).splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"] and "cannot be read" in lines[1]
    run("restore", url, home / "one")
