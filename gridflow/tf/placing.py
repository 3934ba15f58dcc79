"""Where TensorFlow runs something: its names of devices, and CUDA's numbers of GPUs."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from ..cuda.devices import CPU, number_of, parsed
from ..errors import DeviceError, UsageError


class Place(NamedTuple):
    """A device.

    Attributes:
        name: as ``tf.device`` takes it.
        number: of the GPU, as CUDA counts those that the process sees; ``CPU`` for host memory.
    """

    name: str
    number: int


def place(device: Any = None) -> Place:
    """The device that is meant.

    Args:
        device: a name of TensorFlow's such as ``/GPU:0``, a ``tf.config.LogicalDevice``, a number of a GPU as
            TensorFlow counts them, or ``cpu``; None for the first GPU, or the CPU where there is none.

    Raises:
        UsageError: it is none of these, or a device of another machine.
        DeviceError: TensorFlow has no such GPU.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if device is None:
        device = "/GPU:0" if gpus else "cpu"
    if isinstance(device, tf.config.LogicalDevice):
        device = device.name
    kind, index = parsed(device)
    if isinstance(device, str) and not _is_here(device):
        raise UsageError(f"{device} is a device of another process: it reads its own tables")
    if kind == "cpu":
        return Place("/CPU:0", CPU)
    if index >= len(gpus):
        number_of(device)  # what is missing, if that is a driver
        names = ", ".join(f"/GPU:{i}" for i in range(len(gpus))) or "none"
        raise DeviceError(f"no GPU {index} in TensorFlow; it has {names}", "NO_DEVICE")
    return Place(f"/GPU:{index}", _physical()[index])


def _is_here(device: str) -> bool:
    """Whether a name is not that of another process's device."""
    try:
        named = tf.DeviceSpec.from_string(device)
    except ValueError:  # no name of TensorFlow's, then
        return True
    here = tf.DeviceSpec.from_string(tf.config.list_logical_devices("CPU")[0].name)
    parts = ((named.job, here.job), (named.replica, here.replica), (named.task, here.task))
    return all(part is None or part == own for part, own in parts)


def _physical() -> list[int]:
    """CUDA's number of each of TensorFlow's GPUs, several of which may be parts of one."""
    numbers = []
    for device in tf.config.get_visible_devices("GPU"):
        parts = tf.config.get_logical_device_configuration(device) or [None]
        numbers += [int(device.name.rpartition(":")[2])] * len(parts)
    return numbers
