"""One copy in a GPU's memory for several processes, whichever of them dies."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from device_rows import RandomTable, assert_same, check_table, converted
from fake_gpu import scaled

import gridflow
from gridflow import GridConnectionError, UsageError, VersionNotFoundError
from gridflow.cuda import Convert, DeviceTable, devices, open_shared

ROWS, ROW_BYTES = scaled(scaled(32_768)), 4096
TABLE_BYTES = ROWS * ROW_BYTES

OWNER = """
import sys
import fake_gpu
from gridflow.cuda import DeviceTable
fake_gpu.use_if_asked()
table = DeviceTable("T", home=sys.argv[1], resident=True)
with table.share(sys.argv[2]):
    print("ready", flush=True)
    sys.stdin.read()
"""

READER = """
import sys
import fake_gpu
import numpy as np
from gridflow.cuda import open_shared
fake_gpu.use_if_asked()
table = open_shared(sys.argv[1])
expected = None
while True:
    found = table.gather(np.arange(len(table)))["X"].numpy().sum(dtype="u8")
    assert expected in (None, found)
    if expected is None:
        print("ready", found, flush=True)
    expected = found
"""


@pytest.fixture
def model(grid):
    """In two segments; a version that is shared is kept though the grid compacts."""
    model = RandomTable(grid, {"X": ("uint8", (ROW_BYTES,))}, ROWS, segments=2, deleted=0.02)
    model.table.flush()  # another process reads it, which cannot ask for that
    model.table.keep_versions(8)
    return model


def started(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    modules = [Path(fake_gpu.__file__).parents[1], Path(gridflow.__file__).parents[1]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, modules))}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    process.said = process.stdout.readline().split()
    assert process.said[:1] == ["ready"], process.wait()
    return process


def killed(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def free_bytes() -> int:
    gc.collect()
    return devices()[0].free_bytes


def test_the_memory_outlives_the_process_that_made_it(model, grid, tmp_path):
    owner = started(OWNER, grid.home, tmp_path / "socket")
    before = free_bytes()
    try:
        device = open_shared(tmp_path / "socket", device=0)
        assert before - free_bytes() < TABLE_BYTES // 2, "there is one copy"
        assert device.resident_rows == len(device) and device.version > 0
        rows = np.random.default_rng().integers(0, len(device), ROWS)
        order = model.order(device)
        convert = {"X": Convert("float16", scale=1 / 255)}
        begun = device.gather(rows, convert)
    finally:
        killed(owner)
    assert_same(begun["X"].numpy(), converted(model.data["X"][order[rows]], convert["X"]))
    check_table(model, device)
    view = device.batch(0, 1)["X"]
    assert view.read_only
    with pytest.raises(GridConnectionError, match="nobody shares a table at"):
        open_shared(tmp_path / "socket")
    with pytest.raises(UsageError, match="shared by another process"):
        device.refresh()
    held = free_bytes()
    device.close()
    del view
    assert free_bytes() - held >= TABLE_BYTES * 3 // 4, "the last one gives it back"


def test_a_reader_that_is_killed_takes_nothing_along(model, tmp_path):
    before = free_bytes()
    with DeviceTable(model.table, resident=True) as device, device.share(tmp_path / "socket") as shared:
        assert shared.path.stat().st_mode & 0o777 == 0o600
        total = model.data["X"][model.ids].sum(dtype=np.uint64)
        for _ in range(2):
            readers = [started(READER, shared.path) for _ in range(2)]
            try:
                assert [int(reader.said[1]) for reader in readers] == [total] * 2
            finally:
                for reader in readers:
                    killed(reader)
            check_table(model, device)
        own = open_shared(shared.path)  # in this process, too
        check_table(model, own)
        own.close()
    assert not (tmp_path / "socket").exists()
    assert before - free_bytes() < TABLE_BYTES // 2


def test_closing_the_table_ends_the_offer(model, tmp_path):
    device = DeviceTable(model.table, resident=True)
    device.share(tmp_path / "socket")
    reader = open_shared(tmp_path / "socket")
    device.close()
    assert not (tmp_path / "socket").exists()
    check_table(model, reader)


def test_a_version_that_is_kept_no_longer(model, tmp_path):
    model.table.keep_versions(0)
    with DeviceTable(model.table, resident=True) as device, device.share(tmp_path / "socket"):
        model.table.remove_all(model.ids[:100].tolist())
        model.table.compact()
        with pytest.raises(VersionNotFoundError, match="share a version that has a tag"):
            open_shared(tmp_path / "socket")


def test_a_version_with_a_tag_can_be_shared_for_good(model, tmp_path):
    model.table.tag("epoch")
    with DeviceTable(model.table, resident=True, version="epoch") as device, device.share(tmp_path / "socket"):
        model.table.truncate()
        with open_shared(tmp_path / "socket") as reader:
            check_table(model, reader)
