"""Tables of a grid on an NVIDIA GPU, without TensorFlow.

    import gridflow.cuda

    table = gridflow.cuda.DeviceTable("IMAGES", device=0, resident="auto")
    pixels = gridflow.cuda.Convert("float16", scale=1 / 255)
    for batch in table.batches(256, shuffle=True, convert={"PIXELS": pixels}):
        images = torch.from_dlpack(batch["PIXELS"])    # or cupy.asarray(...): nothing is copied

The GPU reads rows from the grid's files, which are pinned where they are mapped, or from a copy in its own memory; one
copy serves several processes. The driver is needed, and for kernels NVRTC, which CUDA has and ``pip install
nvidia-cuda-nvrtc`` brings; no toolkit. With ``device="cpu"`` all works without them, with the same results.

table.py      DeviceTable: gather, batch, refresh
convert.py    Convert: numbers scaled and rounded, images cropped and mirrored, on the way
arrays.py     Array, what comes out, for numpy, CuPy, PyTorch and others
devices.py    which GPUs there are; streams and events
sharing.py    one copy for several processes
library.py    the library that kernels/cuda makes, by ctypes
"""

from typing import Any

from ..deprecation import old_attribute
from .arrays import Array
from .convert import Convert
from .devices import Device, Event, Stream, devices, is_available
from .library import RowNotFoundError
from .sharing import Shared, open_shared
from .table import DeviceColumn, DeviceTable

__all__ = [
    "Array",
    "Convert",
    "Device",
    "DeviceColumn",
    "DeviceTable",
    "Event",
    "RowNotFoundError",
    "Shared",
    "Stream",
    "devices",
    "is_available",
    "open_shared",
]


def __getattr__(name: str) -> Any:
    return old_attribute(__name__, name, {"RowNotFound": "RowNotFoundError"})
