"""A GPU in host memory, for machines without one: a driver and an NVRTC that gridflow.cuda takes for NVIDIA's.

The kernels themselves run, compiled by g++, and every address that they touch is looked at: see driver.cc and runner.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gridflow.cuda import is_available, library

FOLDER = Path(__file__).parent
KERNELS = FOLDER.parents[1] / "kernels"

VARIABLE = "GRIDFLOW_FAKE_GPU"  # where it is, for use_if_asked()
DEVICE = "tensorflow_device.so"  # beside it


def build(folder: Path) -> Path:
    """Make it in a folder, where it also keeps the kernels that it compiles; about 10 s."""
    made = folder / "fakegpu.so"
    command = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", f"-I{KERNELS}"]
    sources = [str(FOLDER / f"{name}.cc") for name in ("compiler", "driver", "runner")]
    subprocess.run([*command, f'-DFAKE_GPU_SOURCES="{FOLDER}"', *sources, "-o", str(made)], check=True)
    return made


def build_for_tensorflow(made: Path) -> None:
    """Make what ``use_in_tensorflow`` needs; about 15 s."""
    asked = "import json; from tensorflow import sysconfig as tf; "
    asked += "print(json.dumps([tf.get_compile_flags(), tf.get_link_flags()]))"
    said = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    compiling, linking = json.loads(said.stdout)
    command = ["g++", *compiling, "-O1", "-shared", "-fPIC", "-w", str(FOLDER / "tensorflow_device.cc")]
    subprocess.run([*command, "-o", str(made.with_name(DEVICE)), *linking], check=True)


def environment(made: Path, memory: int) -> dict[str, str]:
    """For a process that is to use it: ``memory`` is how many bytes the GPU has."""
    return {
        VARIABLE: str(made),
        "FAKE_GPU_BYTES": str(memory),
        "XDG_CACHE_HOME": str(made.parent),  # where compiled kernels are kept
        "PYTHONPATH": os.pathsep.join(
            [str(FOLDER.parent), str(KERNELS.parent), *os.environ.get("PYTHONPATH", "").split()]
        ),
    }


def scaled(rows: int) -> int:
    """Rows for a test: fewer on this one, which is thousands of times as slow as a GPU."""
    return rows // 8 if VARIABLE in os.environ else rows


def use_if_asked() -> None:
    """Open it if the environment says so; to be called before a driver is looked for."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    library.offer_compiler()  # which would come later, and in place of this one
    library.call("use_driver", os.fsencode(path))
    library.call("use_compiler", os.fsencode(path))
    assert is_available()


def use_in_tensorflow() -> None:
    """Give TensorFlow the device too, if the environment says so; to be called before it looks for devices.

    TensorFlow's own operations are done there by the processor; what XLA compiles does not run.
    """
    if VARIABLE in os.environ:
        import tensorflow as tf
        from keras.src.trainers import trainer

        use_if_asked()
        tf.load_library(str(Path(os.environ[VARIABLE]).with_name(DEVICE)))
        trainer.model_supports_jit = lambda model: False  # or Keras has XLA compile what it can


def ask(name: str) -> int:
    """Bytes that are ``registered`` or ``allocated``, or that were ``copied`` from what is registered.

    Or how often blocks were ``decoded``, or threads of kernels made ``accesses`` to the GPU's memory or over the bus.
    """
    gc.collect()
    function = getattr(ctypes.CDLL(os.environ[VARIABLE]), f"fake_gpu_{name}")
    function.restype = ctypes.c_size_t
    return function()


@contextlib.contextmanager
def failing(call: int, result: int) -> Iterator[list[bool]]:
    """Let a call of the driver say ``result``, by its number from here on, of those that may fail.

    Gives a list that, afterwards, has whether it came to that.
    """
    function = ctypes.CDLL(os.environ[VARIABLE]).fake_gpu_fail
    function.restype = ctypes.c_int64
    said: list[bool] = []
    function(ctypes.c_int64(call), result)
    try:
        yield said
    finally:
        said.append(function(ctypes.c_int64(-1), 0) < 0)
