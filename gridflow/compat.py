"""Names that programs for other data grids import; to move one here, change its import.

    from gridflow.compat import IgniteDataset

for what used to be in ``tensorflow.contrib.ignite`` or ``tensorflow_io.ignite``. Like ``gridflow`` itself, this module
does not import TensorFlow before one of its names is used.
"""

from typing import Any

__all__ = ["IgniteDataset"]  # noqa: F822, by __getattr__


def __getattr__(name: str) -> Any:
    if name == "IgniteDataset":
        from .tf.compat import IgniteDataset

        return IgniteDataset
    raise AttributeError(f"module 'gridflow.compat' has no attribute {name!r}")
