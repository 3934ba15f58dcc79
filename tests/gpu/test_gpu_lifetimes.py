"""What a table on a GPU holds, and for how long: memory, pinned files, versions, work that goes on."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from device_rows import RandomTable, assert_same, check_table, converted
from fake_gpu import scaled

from gridflow import DeviceError, GridClosedError, TableNotFoundError, UsageError
from gridflow.cuda import Array, Convert, DeviceTable, Stream, devices

MIB = 1 << 20


def free_bytes() -> int:
    gc.collect()
    return devices()[0].free_bytes


@pytest.fixture
def large(grid):
    """64 MiB in two segments."""
    return RandomTable(grid, {"X": ("uint8", (4096,))}, 16_384, segments=2, deleted=0)


def test_memory_is_given_back(large):
    DeviceTable(large.table, resident=True).close()  # what the driver keeps for itself, it has now
    before = free_bytes()
    device = DeviceTable(large.table, resident=True)
    assert before - free_bytes() >= 64 * MIB
    view = device.batch(100, 1)["X"]
    expected = view.numpy()
    device.close()
    assert before - free_bytes() >= 32 * MIB, "a view holds its segment"
    assert_same(view.numpy(), expected)
    del view
    assert before - free_bytes() < 16 * MIB
    made = [Array.empty(32 * MIB, "uint8") for _ in range(3)]
    assert before - free_bytes() >= 96 * MIB
    del made
    assert before - free_bytes() < 16 * MIB


def test_a_table_that_does_not_fit(large):
    spare = Array.empty(free_bytes() - 48 * MIB, "uint8")
    before = free_bytes()
    with pytest.raises(DeviceError) as caught:
        DeviceTable(large.table, resident=True)
    assert caught.value.code == "NO_MEMORY"
    assert before - free_bytes() < 16 * MIB, "nothing is loaded"
    with pytest.warns(UserWarning, match="of 16,384 rows fit into the memory of /GPU:0"):
        device = DeviceTable(large.table, resident="auto")
    assert device.resident_rows < len(device)
    check = device.gather([0, len(device) - 1])
    assert_same(check["X"].numpy(), large.data["X"][check["ID"].numpy()])
    del spare
    device.close()
    with DeviceTable(large.table, resident=True) as device:
        check_table(large, device)


def test_a_file_is_pinned_once(large):
    told: list[tuple[int, int]] = []

    def progress(done, of):
        told.append((done, of))

    with DeviceTable(large.table, progress=progress) as one:
        assert told and told[-1][0] == told[-1][1] >= 64 * MIB
        told.clear()
        with DeviceTable(large.table, progress=progress) as other, DeviceTable(large.table, columns="ID") as third:
            assert not told, "all of it was"
            one.close()
            check_table(large, other)
            assert len(third.gather([1, 2])["ID"]) == 2
    with DeviceTable(large.table, progress=progress) as device:
        assert told, "with the last table it went"
        check_table(large, device)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_pinning_and_loading_can_be_ended(large, resident, raised):
    def progress(done, of):
        raise raised("enough")

    before = free_bytes()
    with pytest.raises(raised, match="enough"):
        DeviceTable(large.table, resident=resident, progress=progress)
    assert before - free_bytes() < 16 * MIB
    with DeviceTable(large.table, resident=resident) as device:
        check_table(large, device)


@pytest.mark.parametrize("resident", [False, True])
def test_a_table_that_is_closed_while_the_gpu_reads_it(large, resident):
    rng, convert, count = np.random.default_rng(), {"X": Convert("float32", scale=1 / 255)}, scaled(10_000)
    for _ in range(scaled(8)):
        device = DeviceTable(large.table, resident=resident)
        order = large.order(device)
        rows = rng.integers(0, len(device), count)
        streams = [Stream(), None, Stream()]
        begun = [device.gather(rows, convert, streams[0]), device.gather(rows, None, streams[1])]
        begun.append(device.batch(0, count, None, streams[2]))
        device.close()
        assert_same(begun[0]["X"].numpy(), converted(large.data["X"][order[rows]], convert["X"]))
        assert_same(begun[1]["X"].numpy(), large.data["X"][order[rows]])
        assert_same(begun[2]["X"].numpy(), large.data["X"][order[:count]])


@pytest.mark.parametrize("resident", [False, True])
def test_rows_named_on_the_gpu_are_held_until_they_are_read(large, resident):
    device = DeviceTable(large.table, resident=resident)
    order, count = large.order(device), scaled(5000)
    for _ in range(20):
        rows = np.random.default_rng().integers(0, len(device), count)
        found = device.gather(Array.of(rows), check=False)  # nobody else has the numbers
        Array.of(np.full(count, 1 << 50))
        assert_same(found["X"].numpy(), large.data["X"][order[rows]])
    device.check()


@pytest.mark.parametrize("resident", [False, True])
def test_a_table_that_is_dropped_while_it_is_in_use(grid, resident):
    model = RandomTable(grid, {"X": ("uint8", (4096,))}, scaled(4000))
    device = DeviceTable(model.table, resident=resident)
    rows = np.random.default_rng().integers(0, len(device), scaled(3000))
    begun = device.gather(rows)
    grid.drop_table("T")
    assert_same(begun["X"].numpy(), model.data["X"][begun["ID"].numpy()])
    check_table(model, device)
    with pytest.raises(TableNotFoundError):
        device.refresh()
    check_table(model, device)


@pytest.mark.parametrize("resident", [False, True, "auto"])
def test_a_newer_version(grid, resident):
    model = RandomTable(grid, {"X": ("uint8", (100,))}, 5000)
    device = DeviceTable(model.table, resident=resident)
    check_table(model, device)
    assert not device.refresh()
    view = device.batch(0, 3)["X"]
    expected = view.numpy()
    gone = model.ids[::3]
    model.table.remove_all(gone.tolist())
    model.table.compact()
    model.ids = np.setdiff1d(model.ids, gone)
    assert device.refresh()
    check_table(model, device)
    assert_same(view.numpy(), expected)
    device.close()
    with pytest.raises(GridClosedError):
        device.gather([0])


def test_an_empty_table(grid):
    model = RandomTable(grid, {"X": ("uint8", (4,))}, 0)
    for resident in (False, True, "auto"):
        with DeviceTable(model.table, resident=resident) as device:
            assert len(device) == 0 and list(device.batches(10)) == []
            check_table(model, device)
            with pytest.raises(IndexError):
                device.gather(Array.of(np.array([0])))


def test_rows_of_a_column_that_came_later(grid):
    """What its older segments do not have lies in memory that the GPU does not read."""
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load({"ID": np.arange(1000)})
    grid.alter_table("T", add={"LABEL": "INT NOT NULL"}, fill={"LABEL": 7})
    table.load({"ID": np.arange(1000, 1500), "LABEL": np.arange(500, dtype="i4")})
    for resident in (False, True):
        with DeviceTable(table, resident=resident) as device:
            found = device.gather(np.arange(1500))
            ids = found["ID"].numpy()
            np.testing.assert_array_equal(found["LABEL"].numpy(), np.where(ids < 1000, 7, ids - 1000))


def test_a_table_in_part_on_the_gpu_is_not_shared(large, tmp_path):
    with DeviceTable(large.table) as device, pytest.raises(UsageError, match="has 0 of 16,384 rows in the memory"):
        device.share(tmp_path / "socket")
