"""Where files are written: through links, into FIFOs and devices, and over files that keep their mode."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gridflow.errors import UsageError
from gridflow.schema import parse_type
from gridflow.storage.formats import writing
from gridflow.storage.formats.writing import WriteOptions, replacement, write_file

ROWS = pa.table({"A": pa.array([1, 2, 3], pa.int64())})
FORMS = ["csv", "json", "parquet", "arrow", "tfrecord", "npz"]


def write(path: Path, form: str = "csv") -> int:
    return write_file(path, form, ROWS.schema, [parse_type("LONG")], iter(ROWS.to_batches()), WriteOptions())


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a.csv", tmp_path / "a.csv"
    if there:
        target.write_text("old")
        target.chmod(0o640)
    (tmp_path / "between").symlink_to("far/a.csv")
    link.symlink_to(tmp_path / "between")
    write(link)
    assert link.is_symlink() and (tmp_path / "between").is_symlink()
    assert target.read_text() == "A\n1\n2\n3\n"
    assert os.listdir(tmp_path / "far") == ["a.csv"]
    if there:
        assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_file_keeps_its_mode_and_stays_where_writing_fails(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    path.chmod(0o600)
    with pytest.raises(ZeroDivisionError), replacement(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.csv"])
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("form", FORMS)
def test_a_fifo_stays_one_and_its_reader_gets_the_rows(tmp_path, form):
    path, plain, found = tmp_path / "pipe", tmp_path / "plain", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    assert write(path, form) == 3
    reader.join(10)
    assert path.is_fifo() and os.listdir(tmp_path) == ["pipe"]
    if form == "parquet":
        assert pq.read_table(io.BytesIO(found[0]))["A"].to_pylist() == [1, 2, 3]
    elif form != "npz":  # a ZIP that is written to a pipe says sizes elsewhere
        write(plain, form)
        assert found == [plain.read_bytes()]


def test_a_device_without_room_is_an_error_and_no_new_file(tmp_path, monkeypatch):
    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "device"
    os.mkfifo(path)  # a node of a device would need root, and its writer is the same
    monkeypatch.setattr(writing, "_Counted", lambda stream: Full())
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(UsageError, match="cannot be written: No space left on device"):
            write(path)
    finally:
        os.close(end)
    assert path.is_fifo() and os.listdir(tmp_path) == ["device"]


def test_a_file_that_is_open_and_has_no_name_is_written_by_way_of_proc(tmp_path):
    with open(tmp_path / "a", "w+b") as file:
        os.unlink(tmp_path / "a")
        write(Path(f"/proc/self/fd/{file.fileno()}"))
        file.seek(0)
        assert file.read() == b"A\n1\n2\n3\n"
    assert os.listdir(tmp_path) == []
