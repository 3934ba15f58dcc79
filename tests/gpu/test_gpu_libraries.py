"""Arrays of a GPU in PyTorch and CuPy, without a copy, and theirs as rows and results."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from device_rows import RandomTable, assert_same, converted

import gridflow.cuda
from gridflow.cuda import Array, Convert, DeviceTable

COLUMNS = {
    "BYTES": ("uint8", (3, 5)),
    "FLAGS": ("bool", (4,)),
    "HALF": ("float16", (2,)),
    "WIDE": ("float64", ()),
    "SMALL": ("int16", ()),
}


@pytest.fixture(scope="module")
def model(module_grid):
    return RandomTable(module_grid, COLUMNS, 3000, segments=1, deleted=0)


@pytest.fixture(scope="module", params=[False, True])
def device(request, model):
    with DeviceTable(model.table, resident=request.param) as device:
        yield device


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    return torch


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


def test_torch_takes_arrays(torch, model, device):
    order = model.order(device)
    for found in (device.gather(np.arange(100)), device.batch(0, 100)):
        for name, array in found.items():
            taken = torch.from_dlpack(array)
            assert taken.data_ptr() == array.pointer and tuple(taken.shape) == array.shape
            assert_same(taken.cpu().numpy(), model.data[name][order[:100]], name)
            if not array.read_only:
                assert torch.as_tensor(array, device="cuda").data_ptr() == array.pointer
    empty = torch.from_dlpack(device.gather([])["BYTES"])
    assert tuple(empty.shape) == (0, 3, 5)


@pytest.mark.parametrize("result", ["float32", "float16", "bfloat16"])
def test_torch_takes_conversions(torch, model, device, result):
    order = model.order(device)
    convert = Convert(getattr(torch, result), scale=1 / 255, offset=-0.5)
    taken = torch.from_dlpack(device.gather(np.arange(50), {"BYTES": convert})["BYTES"])
    assert taken.dtype == getattr(torch, result)
    bits = taken.view(torch.uint16) if result == "bfloat16" else taken
    assert_same(bits.cpu().numpy(), converted(model.data["BYTES"][order[:50]], convert))


def test_tensors_outlive_all_else(torch, model, module_grid):
    with DeviceTable(model.table, resident=True) as device:
        view = device.batch(5, 20)["BYTES"]
        expected = view.numpy()
        taken = torch.from_dlpack(view)
    del view, device
    gc.collect()
    assert_same(taken.cpu().numpy(), expected)


def test_an_error_on_its_way_past_a_tensor_stays_itself(torch, device):
    def fails():
        taken = torch.from_dlpack(device.gather([1])["BYTES"])
        assert taken.is_cuda
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fails()


def test_torch_names_rows_and_takes_results(torch, model, device):
    order = model.order(device)
    rows = torch.randint(0, len(device), (400,), device="cuda")
    out = torch.empty((400, 3, 5), dtype=torch.uint8, device="cuda")
    found = device.gather(rows, out={"BYTES": out})
    assert found["BYTES"] is out
    assert_same(out.cpu().numpy(), model.data["BYTES"][order[rows.cpu().numpy()]])
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(20):
            rows = torch.randint(0, len(device), (400,), device="cuda")
            convert = {"BYTES": Convert("float32", scale=2)}
            result = torch.from_dlpack(device.gather(rows, convert, stream, check=False)["BYTES"])
            again = result.sum(dtype=torch.float64)
            expected = converted(model.data["BYTES"][order[rows.cpu().numpy()]], convert["BYTES"])
            assert float(again) == expected.sum(dtype=np.float64)
    device.check(stream)


def test_a_taker_in_another_stream_waits(torch, model, device):
    order = model.order(device)
    rows = np.random.default_rng().integers(0, len(device), 3000)
    mine, theirs = gridflow.cuda.Stream(), torch.cuda.Stream()
    for _ in range(20):
        made = device.gather(rows, stream=mine)["BYTES"]
        with torch.cuda.stream(theirs):
            assert_same(torch.from_dlpack(made).cpu().numpy(), model.data["BYTES"][order[rows]])


def test_cupy_takes_arrays(cupy, model, device):
    order = model.order(device)
    for found in (device.gather(np.arange(100)), device.batch(0, 100)):
        for name, array in found.items():
            for taken in (cupy.asarray(array), cupy.from_dlpack(array)):
                assert taken.data.ptr == array.pointer
                assert_same(cupy.asnumpy(taken), model.data[name][order[:100]], name)


def test_cupy_names_rows_and_takes_results(cupy, model, device):
    order = model.order(device)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        rows = cupy.random.randint(0, len(device), 300, dtype=np.int64)
        out = cupy.empty(300, np.int16)
        device.gather(rows, stream=stream, out={"SMALL": out})
        assert_same(cupy.asnumpy(out), model.data["SMALL"][order[cupy.asnumpy(rows)]])


def test_streams_of_others(torch):
    for stream in (torch.cuda.Stream(), torch.cuda.current_stream(), None, 1, 2, gridflow.cuda.Stream()):
        array = Array.of(np.arange(5), stream=stream)
        assert array.__cuda_array_interface__["stream"] != 0
        assert array.numpy().tolist() == [0, 1, 2, 3, 4]
