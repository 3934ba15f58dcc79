"""What tests/gpu does, without a GPU: the kernels run in host memory, where every access is looked at."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import fake_gpu
import numpy as np
import pytest

TESTS = Path(__file__).parents[2]

# --- on a GPU that is fake ---

QUICK = {
    "tf/test_device_table.py": "not importing",
    "gpu/test_gpu_small.py": "",
    "gpu/test_gpu_sharing.py": "",
    "gpu/test_gpu_lifetimes.py": "closed_while or named_on or dropped or newer or empty or came_later",
}


def run(gpu: Path, path: str, some: str) -> subprocess.CompletedProcess[str]:
    """Tests in a process that has the GPU."""
    if path.startswith("tf"):
        fake_gpu.build_for_tensorflow(gpu)
    environment = {**os.environ, **fake_gpu.environment(gpu, 512 << 20)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / path), "-k", some]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def quick(built_gpu) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """All of them, two at a time."""
    with ThreadPoolExecutor(2) as threads:
        yield {path: threads.submit(run, built_gpu, path, some) for path, some in QUICK.items()}


def passed(done: subprocess.CompletedProcess[str]) -> str:
    """The line that counts the tests, all of which passed."""
    last = (done.stdout.splitlines() or [""])[-1]
    assert done.returncode == 0 and " passed" in last, done.stdout + done.stderr
    return last


@pytest.mark.parametrize("path", [path for path in QUICK if path.startswith("gpu")])
def test_what_is_tested_on_a_gpu(quick, path):
    assert "skipped" not in passed(quick[path].result())


@pytest.mark.long
def test_all_that_is_tested_on_a_gpu(built_gpu):
    assert "skipped" not in passed(run(built_gpu, "gpu", "not libraries"))


def test_what_is_tested_on_a_gpu_with_tensorflow(quick):
    """Its kernels for GPUs, and elements of datasets that are copied to one, in graphs and outside."""
    assert "1 skipped" in passed(quick["tf/test_device_table.py"].result()), "where there is none"


@pytest.mark.long
def test_tensorflow_where_there_is_a_gpu(built_gpu):
    """Datasets whose elements stay in host memory, by programs that use the GPU for what they do with them.

    But for what XLA compiles, what looks at addresses in host memory, and tf.data service: of TensorFlow's own datasets
    too, it does not copy its compressed elements from the GPU on which TensorFlow 2.21 puts them.
    """
    there = "not test_service and not importing and not lists_are_views and not nothing_writes"
    passed(run(built_gpu, "tf", there))


# --- mistakes that are found ---


class Gpu:
    """The fake driver, and kernels of a test's own."""

    def __init__(self, path: Path):
        self.library = ctypes.CDLL(str(path))
        self.library.fake_gpu_forgive.restype = ctypes.c_char_p
        self.memory = ctypes.c_ulonglong()
        assert self.library.cuMemAlloc_v2(ctypes.byref(self.memory), 256) == 0
        self.set_memory(np.zeros(64, np.int32))

    def compiled(self, body: str) -> ctypes.c_void_p:
        source = f"""
            #include "cuda/gather_args.h"
            extern "C" __global__ void kernel(gridflow::cuda::GatherArgs args) {{
              int* memory = (int*)args.pages;
              int thread = threadIdx.x;
              __shared__ int shared[64];
              {body}
            }}
        """
        program, module, kernel = (ctypes.c_void_p() for _ in range(3))
        header = (fake_gpu.KERNELS / "cuda/gather_args.h").read_bytes()
        names, texts = ((ctypes.c_char_p * 1)(text) for text in (b"cuda/gather_args.h", header))
        call = self.library
        assert call.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"", 1, texts, names) == 0
        result = call.nvrtcCompileProgram(program, 0, None)
        text = ctypes.create_string_buffer(1 << 20)
        call.nvrtcGetProgramLog(program, text)
        assert result == 0, text.value.decode()
        call.nvrtcGetCUBIN(program, text)
        assert call.cuModuleLoadData(ctypes.byref(module), text) == 0
        assert call.cuModuleGetFunction(ctypes.byref(kernel), module, b"kernel") == 0
        return kernel

    def launch(self, body: str, blocks: int = 1, memory: int | None = None) -> None:
        """64 threads a block; nothing is run yet."""
        args = ctypes.create_string_buffer(4096)
        ctypes.memmove(args, ctypes.byref(ctypes.c_ulonglong(memory or self.memory.value)), 8)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        kernel = self.compiled(body)
        assert self.library.cuLaunchKernel(kernel, blocks, 1, 1, 64, 1, 1, 0, None, pointers, None) == 0

    def end(self) -> str:
        """What was wrong; empty: nothing."""
        result = self.library.cuStreamSynchronize(None)
        said = self.library.fake_gpu_forgive().decode()
        assert (result != 0) == bool(said)
        return said

    def set_memory(self, numbers: np.ndarray) -> None:
        self.copy(self.memory.value, numbers.ctypes.data)

    def numbers(self) -> np.ndarray:
        numbers = np.empty(64, np.int32)
        self.copy(numbers.ctypes.data, self.memory.value)
        return numbers

    def copy(self, to: int, source: int) -> None:
        sizes = (ctypes.c_ulonglong(to), ctypes.c_ulonglong(source), ctypes.c_size_t(256))
        assert self.library.cuMemcpyAsync(*sizes, None) == 0
        assert self.library.cuStreamSynchronize(None) == 0


@pytest.fixture
def gpu(built_gpu):
    made = Gpu(built_gpu)
    yield made
    assert made.library.cuMemFree_v2(made.memory) == 0


@pytest.mark.parametrize(
    ("body", "blocks", "said"),
    [
        ("memory[thread + 1] = 1;", 1, "thread 63: writes 4 bytes, 0 bytes after the end of 256"),
        ("memory[thread] = memory[thread - 1];", 1, "thread 0: reads 4 bytes, 4 bytes before 256"),
        ("*(int*)((char*)memory + 4 * thread + 2) = 1;", 1, "writes 4 bytes at byte 2 of 256, which is not aligned"),
        ("*(int*)4096 = 1;", 1, "thread 0: writes 4 bytes, where there is no memory for it"),
        ("memory[0] = thread;", 1, "thread 1: writes 4 bytes at byte 0 of 256, as thread 0 does, with no barrier"),
        ("memory[thread] = 1;", 2, "block 1, thread 0: writes 4 bytes at byte 0 of 256, as threads elsewhere do"),
        ("memory[thread / 2] = 1;", 1, "thread 1: writes 4 bytes at byte 0 of 256, as thread 0 does"),
        ("((char*)memory)[thread] = memory[0] > 7;", 1, "thread 1: reads 4 bytes at byte 0 of 256, as thread 0 does"),
        ("if (thread != 5) memory[1] + 0 ? memory[2] = 0 : 0; else memory[1] = 1;", 1,
         "thread 5: writes 4 bytes at byte 4 of 256, as threads elsewhere do"),
        ("shared[thread] = 1; memory[thread] = shared[(thread + 1) % 64];", 1,
         "thread 1: writes 4 bytes of the block's memory, as thread 0 does"),
        ("shared[thread] = 1; __syncwarp(); memory[thread] = shared[(thread + 1) % 64];", 1,
         "thread 31: reads 4 bytes of the block's memory, as thread 32 does"),
        ("int was = memory[63 - thread]; __syncwarp(); memory[thread] = was;", 1,
         "thread 0: writes 4 bytes at byte 0 of 256, as thread 63 does"),
        ("if (thread < 40) __syncthreads(); else __syncwarp();", 1, "waits at line"),
        ("if (thread < 40) { __syncthreads(); } else {\n __syncthreads(); }", 1, "waits at line"),
    ],
)  # fmt: skip
def test_wrong_kernels(gpu, body, blocks, said):
    gpu.launch(body, blocks)
    assert said in gpu.end()
    assert gpu.end() == ""


@pytest.mark.parametrize(
    ("body", "blocks", "expected"),
    [
        ("memory[thread] = thread;", 1, np.arange(64)),
        ("int all = 64 / gridDim.x; if (thread < all) memory[blockIdx.x * all + thread] = blockIdx.x;", 2,
         np.arange(64) // 32),
        ("shared[thread] = thread; __syncthreads(); memory[thread] = shared[63 - thread];", 1, np.arange(64)[::-1]),
        ("shared[thread] = thread; __syncwarp(); memory[thread] = shared[thread ^ 31];", 1, np.arange(64) ^ 31),
        ("int was = memory[63 - thread]; __syncthreads(); memory[thread] = was + 1;", 1, np.ones(64)),
        ("for (int i = 0; i < 3; ++i) { shared[(thread + i) % 64] = i; __syncthreads(); }"
         "memory[thread] = shared[thread];", 1, np.full(64, 2)),
        ("if (thread > 40) return; __syncthreads(); memory[thread] = 1;", 1, np.arange(64) <= 40),
        ("unsigned long long* first = (unsigned long long*)memory;"
         "if (atomicCAS(first, 0ull, 7ull) == 0) memory[2] = 1;", 1, [7, 0, 1] + [0] * 61),
    ],
)  # fmt: skip
def test_right_kernels(gpu, body, blocks, expected):
    gpu.launch(body, blocks)
    assert gpu.end() == ""
    np.testing.assert_array_equal(gpu.numbers(), np.asarray(expected, np.int32))


def test_memory_that_is_given_back_too_early(gpu):
    mapped = np.frombuffer(mmap.mmap(-1, 4096), np.int32)
    address, library = ctypes.c_ulonglong(mapped.ctypes.data), gpu.library
    pointer, size = ctypes.c_void_p(address.value), ctypes.c_size_t(4096)
    reads = 'asm volatile("" :: "r"(memory[thread]));'

    def launch(body: str) -> None:
        gpu.launch(body, memory=address.value)

    assert library.cuMemHostRegister_v2(pointer, size, 8) == 0
    launch("memory[thread] = 1;")
    assert "thread 0: writes 4 bytes at byte 0 of 4096, which may only be read" in gpu.end()
    launch(reads)
    assert gpu.end() == ""
    launch(reads)
    assert library.cuMemHostUnregister(pointer) == 0
    assert "thread 0: reads 4 bytes, where there is no memory for it" in gpu.end()
    assert library.cuMemHostRegister_v2(pointer, size, 8) == 0
    assert library.cuMemcpyAsync(gpu.memory, address, ctypes.c_size_t(256), None) == 0
    assert library.cuMemHostUnregister(pointer) == 0
    assert gpu.end() == "a copy reads memory that is gone"
