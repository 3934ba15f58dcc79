"""A grid beside other users of the machine: what they put in its place is neither followed nor overwritten."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

import gridflow
from gridflow import GridAccessError
from gridflow.registry import open_owner
from gridflow.server import Node

VICTIM = b"somebody's"


@pytest.fixture
def victim(tmp_path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    return path


def write_everything(home: Path) -> None:
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID", if_not_exists=True)
        table.put(1, {})
        table.load({"ID": list(range(100_000))}, on_duplicate="replace")
        table.remove(5)
        table.flush()
        grid.create_table("U", {"ID": "LONG"}, key="ID", if_not_exists=True)


@pytest.mark.parametrize("name", ["LOCK", "catalog", "control"])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_in_the_place_of_a_file(tmp_path, victim, name, kind):
    home = tmp_path / "grid"
    home.mkdir(mode=0o700)
    if kind == "symbolic":
        (home / name).symlink_to(victim)
    else:
        os.link(victim, home / name)
    try:
        write_everything(home)
    except gridflow.GridEnvironmentError as error:
        assert "link" in str(error) or kind == "hard"
    assert victim.read_bytes() == VICTIM


@pytest.mark.parametrize("name", ["catalog.tmp", "control.tmp", "log/0000000000000001.log.tmp"])
def test_a_link_in_the_place_of_a_file_that_is_being_made(tmp_path, victim, name):
    home = tmp_path / "grid"
    (home / name).parent.mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    (home / name).symlink_to(victim)
    write_everything(home)
    assert victim.read_bytes() == VICTIM
    with gridflow.connect(home) as grid:
        assert grid.check() == []


def test_links_in_the_places_of_a_tables_new_files(tmp_path, victim):
    home = tmp_path / "grid"
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID")
        for number in range(1, 9):
            for suffix in (".seg.tmp", ".del.tmp"):
                (table.folder / f"{number:016x}{suffix}").symlink_to(victim)
        (table.folder / "manifest.tmp").symlink_to(victim)
        (table.folder / "merge.tmp").symlink_to(victim)
        table.put_all((i, {}) for i in range(10))
        table.flush()
        table.remove(1)
        table.load([{"ID": 20}])
        table.compact()
        assert len(table) == 10 and victim.read_bytes() == VICTIM
        for path in table.folder.iterdir():
            if path.is_symlink():
                path.unlink()
        assert grid.check() == []


@pytest.mark.parametrize("name", ["log", "tables", "rings"])
def test_a_link_in_the_place_of_a_folder(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    home = tmp_path / "grid"
    home.mkdir(mode=0o700)
    (home / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GridAccessError, match=f"{name} is a symbolic link.*link to the whole grid"):
        Node(home).stop()
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_link_to_a_whole_grid_is_fine(tmp_path):
    write_everything(tmp_path / "grid")
    (tmp_path / "link").symlink_to(tmp_path / "grid")
    write_everything(tmp_path / "link")


def test_a_directory_that_everybody_can_write_to(tmp_path):
    home = tmp_path / "grid"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(GridAccessError, match=f"every user can write to {home}.*chmod o-w {home}"):
        gridflow.connect(home)


def test_the_default_grid_has_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("GRIDFLOW_HOME", raising=False)
    monkeypatch.setattr("gridflow.config.temporary_root", lambda: tmp_path)
    monkeypatch.setattr("os.umask", os.umask)
    before = os.umask(0)
    try:
        with gridflow.connect() as grid:
            for folder in (grid.home, grid.home.parent):
                assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
    finally:
        os.umask(before)
    home = grid.home
    home.parent.chmod(0o755)  # as an older release made it
    with gridflow.connect():
        assert stat.S_IMODE(home.parent.lstat().st_mode) == 0o700
    moved = home.parent.rename(tmp_path / "moved")
    home.parent.symlink_to(moved)
    with pytest.raises(GridAccessError, match="is a link or a file of somebody's: set GRIDFLOW_HOME"):
        gridflow.connect()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's files")
def test_root_does_not_write_to_a_users_grid(tmp_path):
    home = tmp_path / "grid"
    write_everything(home)
    for path in [home, *home.rglob("*")]:
        os.chown(path, 12345, 12345)
    with pytest.raises(GridAccessError, match=re.escape(f"the grid {home} belongs to the user 12345, and this is 0")):
        open_owner(home, False)
    with gridflow.connect(home, read_only=True) as grid:
        assert len(grid.table("T")) == 99_999
    assert {path.stat().st_uid for path in home.rglob("*")} == {12345}


def test_every_file_of_a_grid_is_for_its_user_alone(tmp_path):
    before = os.umask(0)
    try:
        with Node(tmp_path / "grid") as node:
            write_everything(node.home)
            with gridflow.connect(node.home) as grid:
                grid.sql("CREATE INDEX I ON T (ID)")
                grid.table("T").tag("v1")
            modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [node.home, *node.home.rglob("*")]}
    finally:
        os.umask(before)
    assert len(modes) > 10
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
