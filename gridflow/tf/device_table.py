"""DeviceTable: the rows of a table as tensors on a GPU, read where they are mapped or from its own memory."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ..cuda import table as cuda
from ..cuda.convert import Convert, host_places
from ..cuda.table import DeviceColumn, Rows, batch_rows, by_column
from ..deprecation import renamed
from ..errors import SchemaError
from . import ops
from .placing import place

if TYPE_CHECKING:
    from ..grid import Grid
    from ..table import Table


class DeviceTable:
    """One version of a table on one of TensorFlow's devices: rows by number, as tensors there.

    What ``gridflow.cuda.DeviceTable`` does for arrays: on a GPU, kernels read rows over the bus from the grid's pinned
    files, or from the GPU's memory, and convert their numbers on the way; on the CPU the same rows come out, to the
    last bit. Methods may be called in a ``tf.function``, which keeps the version that was open when it was traced, but
    not in one that XLA compiles (``jit_compile=True``, which is what Keras chooses where there is a GPU).

    Rows have numbers from 0, in the order in which ``gridflow.Dataset`` reads them, that of their key hashes. What
    is written meanwhile is seen after ``refresh``. With ``resident="auto"``, what ``batch`` reads makes segments
    take others' places; what ``gather`` reads does not, as the numbers of its rows are the GPU's.

    Args:
        table: a name, or a table of an open grid.
        device: a name of TensorFlow's, such as ``/GPU:0``, or a number of a GPU; None for the first one, or the CPU
            where there is none.
        columns, resident, budget, version, progress, grid, home: as ``gridflow.cuda.DeviceTable`` has them.

    Raises:
        DeviceError: there is no such GPU, no driver, or not enough memory.
        TableNotFoundError, ColumnNotFoundError, VersionNotFoundError: there is none of that name.
        SchemaError: a column is of another type, or has nulls.
        GridCorruptError: a file is damaged.
        UsageError: arguments make no sense.

    >>> import gridflow, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
    ...     table = grid.create_table("T", {"ID": "LONG", "P": "UINT8[2]"}, key="ID")
    ...     _ = table.load({"ID": np.arange(4), "P": np.full((4, 2), 255, "uint8")})
    ...     with DeviceTable(table, "cpu", columns=["P"]) as rows:
    ...         rows.gather([3, 0], convert=Convert("float32", scale=1 / 255))["P"].numpy()
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        table: str | Table,
        device: Any = None,
        columns: str | Iterable[str] | None = None,
        *,
        resident: bool | str = False,
        budget: int | None = None,
        version: str | int | None = None,
        snapshot: str | int | None = None,
        progress: Callable[[int, int], Any] | None = None,
        grid: Grid | None = None,
        home: str | os.PathLike[str] | None = None,
    ):
        self._place = place(device)
        self._table = cuda.DeviceTable(
            table,
            device=self._place.number,
            columns=columns,
            resident=resident,
            budget=budget,
            version=renamed("snapshot", snapshot, "version", version),
            progress=progress,
            grid=grid,
            home=home,
        )
        self._lock = threading.Lock()
        self._handles = weakref.WeakKeyDictionary[Rows, tf.Tensor]()  # the ops'; guarded by _lock

    def __enter__(self) -> DeviceTable:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._table).replace("gridflow.cuda", "gridflow.tf", 1)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def name(self) -> str:
        """The table's name."""
        return self._table.name

    @property
    def device(self) -> str:
        """The device, as ``tf.device`` takes it."""
        return self._place.name

    @property
    def columns(self) -> dict[str, DeviceColumn]:
        """The columns that are open, by name."""
        return self._table.columns

    @property
    def version(self) -> int:
        """The version of the table that is open."""
        return self._table.version

    @property
    def resident_rows(self) -> int:
        """How many rows are in the device's memory."""
        return self._table.resident_rows

    def close(self) -> None:
        """Let the version go, with its memory, once no tensor shows it and no ``tf.function`` reads it any more.

        May be called again.
        """
        with self._lock:
            self._handles.clear()
        self._table.close()

    def refresh(self, progress: Callable[[int, int], Any] | None = None) -> bool:
        """Open the newest version instead, or that which the tag names now; see ``gridflow.cuda.DeviceTable.refresh``.

        Returns:
            Whether it is another version. A ``tf.function`` that was traced before reads the older one.

        Raises:
            TableNotFoundError: the table is gone.
        """
        return self._table.refresh(progress)

    def gather(
        self, rows: Any, convert: Convert | Mapping[str, Convert] | None = None, *, check: bool = True
    ) -> dict[str, tf.Tensor]:
        """Rows by number, in any order and as often as they are named.

        Args:
            rows: int64[n], a tensor on whatever device, or numbers.
            convert: of all columns, or by column; columns without one stay as they are. ``places`` may be a tensor.
            check: whether to wait until the GPU has looked at all numbers. Else one that is not there gives zeros, and
                an error in a later call that waits.

        Returns:
            By column a tensor [n, ...] on the table's device.

        Raises:
            tf.errors.InvalidArgumentError: the table does not have one of the rows.
            SchemaError: a conversion does not fit its column.
            GridClosedError: the table was closed.
        """
        return self._gather(self._table.open_rows(), rows, convert, check)

    def _gather(self, open_rows: Rows, rows: Any, convert: Any, check: bool) -> dict[str, tf.Tensor]:
        handle = self._of(open_rows)
        numbers = _numbers(rows)
        dtype = tf.as_dtype(numbers.dtype)
        if not (dtype.is_integer or numbers.shape == (0,)):
            raise SchemaError(f"rows are int64[n], not {dtype.name}{numbers.shape}")
        numbers = tf.cast(numbers, tf.int64) if tf.is_tensor(numbers) else numbers.astype(np.int64, copy=False)
        op = ops.load().gridflow_device_table_gather
        return self._read(open_rows, convert, lambda **how: op(handle=handle, rows=numbers, check=check, **how))

    def batch(
        self, start: Any, count: Any, convert: Convert | Mapping[str, Convert] | None = None
    ) -> dict[str, tf.Tensor]:
        """Consecutive rows: where they lie, if that is in the device's memory, in one piece; else a copy.

        Args:
            start, count: rows [start, start + count): numbers, or int64 scalars.
            convert: as ``gather`` has it; a column with one is copied.

        Returns:
            By column a tensor [count, ...] on the table's device.

        Raises:
            tf.errors.InvalidArgumentError: the table does not have all of them.
            SchemaError, GridClosedError: as ``gather``.
        """
        return self._batch(self._table.open_rows(), start, count, convert)

    def _batch(self, open_rows: Rows, start: Any, count: Any, convert: Any) -> dict[str, tf.Tensor]:
        handle = self._of(open_rows)
        op = ops.load().gridflow_device_table_batch
        return self._read(open_rows, convert, lambda **how: op(handle=handle, start=start, count=count, **how))

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        drop_remainder: bool = False,
        convert: Convert | Mapping[str, Convert] | None = None,
    ) -> Iterator[dict[str, tf.Tensor]]:
        """All rows of the version that is open now, once, in batches.

        Args:
            batch_size: rows in a batch; the last one may have fewer.
            shuffle: whether they come in a uniformly random order, another one at each call.
            seed: of that order; the same one gives the same order. None: at random.
            drop_remainder: whether to leave out a last batch that is not full.
            convert: as ``gather`` has it.

        Raises:
            UsageError: ``batch_size`` is not at least 1.
        """
        open_rows = self._table.open_rows()
        by_column(convert, open_rows.columns)
        parts = batch_rows(open_rows.count, batch_size, shuffle, seed, drop_remainder)
        return (
            self._batch(open_rows, part.start, len(part), convert)
            if isinstance(part, range)
            else self._gather(open_rows, part, convert, check=False)  # these are all there
            for part in parts
        )

    def _of(self, open_rows: Rows) -> tf.Tensor:
        """The ops' handle of a version; one, as calls that wait for what the GPU says take turns at it."""
        with self._lock:
            if open_rows not in self._handles:
                with tf.init_scope(), tf.device(self._place.name):
                    self._handles[open_rows] = ops.load().gridflow_device_table(table=open_rows.handle)
            return self._handles[open_rows]

    def _read(self, open_rows: Rows, convert: Any, op: Callable[..., tf.Tensor]) -> dict[str, tf.Tensor]:
        conversions = by_column(convert, open_rows.columns)
        tensors = {}
        with tf.device(self._place.name):
            for position, (name, column) in enumerate(open_rows.columns.items()):
                conversion = conversions.get(name)
                how: dict[str, Any] = {"dtype": column.dtype_name, "shape": column.shape, "places": _NO_PLACES}
                if conversion is not None:
                    how.update(_attributes(conversion), shape=conversion.row_shape(column.shape, name))
                tensors[name] = op(column=position, **how)
        return tensors


_NO_PLACES = np.zeros((0, 3), np.int32)  # a tensor would start TensorFlow when this is imported


def _attributes(conversion: Convert) -> dict[str, Any]:
    """A conversion as the ops have it, but for the shape that it makes of a row's."""
    attributes = {
        "dtype": conversion.dtype,
        "convert": True,
        "channels": conversion.channels,
        "scale": conversion.scale or (),
        "offset": conversion.offset or (),
        "image": conversion.image or (),
        "crop": conversion.crop or (),
        "channels_first": conversion.channels_first,
    }
    if conversion.places is not None:
        attributes["places"] = _places(conversion.places)
    return attributes


def _places(places: Any) -> np.ndarray | tf.Tensor:
    """As ``host_places`` has them."""
    numbers = _numbers(places)
    if not tf.is_tensor(numbers):
        return host_places(numbers)
    if not (numbers.dtype.is_integer or numbers.dtype.is_bool):
        raise SchemaError(f"places is int32[rows, 3], not {numbers.dtype.name}{numbers.shape}")
    if numbers.dtype in (tf.int64, tf.uint32, tf.uint64):
        numbers = tf.clip_by_value(tf.cast(numbers, tf.int64), tf.int32.min, tf.int32.max)
    return tf.cast(numbers, tf.int32)


def _numbers(numbers: Any) -> np.ndarray | tf.Tensor:
    """A tensor only where it is one already: on a GPU each further step would be a kernel."""
    try:
        return numbers if tf.is_tensor(numbers) else np.asarray(numbers)
    except NotImplementedError:  # a list with tensors of a graph in it
        return tf.convert_to_tensor(numbers)
