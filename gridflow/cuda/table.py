"""DeviceTable: the rows of a table for a GPU, read where they are mapped or from its own memory."""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from ctypes import byref, c_char_p, c_int32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..deprecation import renamed
from ..errors import (
    ColumnNotFoundError,
    GridClosedError,
    SchemaError,
    TableNotFoundError,
    UsageError,
    VersionNotFoundError,
)
from ..schema import NUMBERS, Schema
from ..storage.expected_files import table_folder
from ..stored_table import StoredTable, flush, open_table
from . import library
from .arrays import Array, ArrayArgument
from .convert import Convert
from .devices import describe, device_name, handle_of, number_of, same_stream, synchronize
from .library import CPU, DTYPES, RowNotFoundError, call, offer_compiler, reported

if TYPE_CHECKING:
    from ..grid import Grid
    from ..table import Table
    from .sharing import Shared  # circle: a table shares itself, and another is made of what is shared

#: What ``resident="auto"`` leaves of the free memory, without a budget: for the work that the rows are for.
_LEFT_FREE = 8  # a part in so many
_MOST_SEGMENTS = 1 << 14  # each of which has a descriptor

Progress = Callable[[int, int], Any]


class DeviceColumn(NamedTuple):
    """What a column holds: the dtype of its numbers, the shape of a row, and its bytes."""

    dtype_name: str
    shape: tuple[int, ...]
    row_bytes: int


class Rows:
    """Some columns of one version of a table, open on a device. Closed when nothing refers to it any more."""

    def __init__(self, directory: str, table_id: int, version: int, device: int, columns: list[str]):
        if device != CPU:
            offer_compiler()
        handle = c_void_p()
        names = (c_char_p * len(columns))(*(name.encode() for name in columns))
        missing = VersionNotFoundError if table_folder(Path(directory), table_id).is_dir() else TableNotFoundError
        where = (os.fsencode(directory), table_id, version, device)
        call("open", *where, names, len(columns), byref(handle), not_found=missing)
        self.handle: int = handle.value or 0
        weakref.finalize(self, library.load().gf_cuda_close, self.handle).atexit = False
        self.table_id = table_id
        self.device = device
        self.count: int = library.load().gf_cuda_rows(self.handle)
        self.version: int = library.load().gf_cuda_version(self.handle)
        self.columns = {name: self._describe(i) for i, name in enumerate(columns)}

    def _describe(self, position: int) -> DeviceColumn:
        info = library.ColumnInfo()
        call("describe_column", self.handle, position, byref(info))
        return DeviceColumn(DTYPES[info.dtype], tuple(info.dims[: info.rank]), info.row_bytes)

    @property
    def resident(self) -> int:
        """How many rows are in the device's memory now."""
        return library.load().gf_cuda_resident_rows(self.handle)

    def pin(self, progress: Progress | None) -> None:
        """Have the device read rows where they are mapped."""
        with reported(progress) as callback:
            call("pin", self.handle, callback, None)

    def load(self, budget: int, progress: Progress | None) -> None:
        """Copy rows to the device; 0: all of them."""
        with reported(progress) as callback:
            call("load", self.handle, budget, callback, None)

    def share(self) -> list[int]:
        """Descriptors of the loaded memory, which are the caller's to close."""
        descriptors, count = (c_int32 * _MOST_SEGMENTS)(), c_int32(_MOST_SEGMENTS)
        call("share", self.handle, descriptors, byref(count))
        return descriptors[: count.value]

    def adopt(self, descriptors: list[int]) -> None:
        """Map memory that another process has loaded; the descriptors stay the caller's."""
        call("adopt", self.handle, (c_int32 * len(descriptors))(*descriptors), len(descriptors))


class _Loan:
    """Memory of a table that a view shows; it stays as long as this does."""

    __slots__ = ("_holder", "__weakref__")

    def __init__(self, holder: int | None):
        self._holder = holder

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not finalizing():  # then the driver may be gone
            library.load().gf_cuda_release(self._holder)


@dataclass(frozen=True)
class _Place:
    """Where a table is found again."""

    directory: str
    name: str
    version: str | int | None


class DeviceTable:
    """One version of a table on a GPU, or in host memory with the same results.

    Rows have numbers from 0, in the order in which ``gridflow.Dataset`` reads them, that of their key hashes. They
    are gathered, in any order, into arrays of the device; consecutive ones are shown where they lie, if they are in
    its memory. Any thread may call any method. What is written meanwhile is seen after ``refresh``.

    Args:
        table: a name, or a table of an open grid.
        grid: the open grid, embedded or served, that has the table.
        home: the grid's directory if there is no ``grid``; None for the default grid.
        device: number of the GPU, or a name such as ``/GPU:1``; ``cpu`` for host memory.
        columns: which: numbers, tensors, dates and times (as the integers that they are stored as), without nulls. All
            of these types without it.
        resident: whether rows are copied into the GPU's memory. False: they are read over the bus, from the grid's
            files, which are pinned. True: all are copied. "auto": as many as there is room for, with a warning if that
            is not all; the others are read over the bus, and take the place of the least recently used ones when they
            are read again and again (reads of rows that are named on the device do not count). In host memory rows are
            anyway.
        budget: with "auto", at most so many bytes of the GPU's memory; without it 7/8 of what is free.
        version: a version that is kept, by its tag or its number; None for the newest.
        snapshot: its old name.
        progress: called with the bytes that are pinned or loaded so far, and those of all.

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
    ...     with DeviceTable(table, device="cpu", columns=["P"]) as rows:
    ...         rows.gather([3, 0], convert=Convert("float32", scale=1 / 255))["P"].numpy()
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        table: str | Table,
        *,
        grid: Grid | None = None,
        home: str | os.PathLike[str] | None = None,
        device: int | str = 0,
        columns: str | Iterable[str] | None = None,
        resident: bool | str = False,
        budget: int | None = None,
        version: str | int | None = None,
        snapshot: str | int | None = None,
        progress: Progress | None = None,
    ):
        if resident not in (True, False, "auto"):
            raise UsageError(f"resident is True, False or 'auto', not {resident!r}")
        if budget is not None and resident != "auto":
            raise UsageError("budget goes with resident='auto'")
        if budget is not None and (isinstance(budget, bool) or not hasattr(budget, "__index__") or budget < 1):
            raise UsageError(f"budget is a number of bytes, at least 1, not {budget!r}")
        version = renamed("snapshot", snapshot, "version", version)
        self._rows: Rows | None = None
        self._shares: list[Shared] = []
        self._adopted = False
        self._resident = resident
        self._budget = budget
        self._device = number_of(device)
        with open_table(table, grid, home) as (_, grid_table):
            stored = StoredTable.of(grid_table, version)
        self._place = _Place(stored.directory, stored.name, version)
        self._names = _chosen(stored.schema, columns, stored.name)
        if version is None:
            flush(stored.directory, stored.name)
        self._rows = self._open(stored.table_id, stored.version)
        self._bring(self._rows, progress)

    @classmethod
    def _adopting(
        cls, place: _Place, table_id: int, version: int, device: int, columns: list[str], descriptors: list[int]
    ) -> DeviceTable:
        """The table whose loaded memory another process shares."""
        self = cls.__new__(cls)
        self._rows, self._shares, self._adopted = None, [], True
        self._resident, self._budget, self._device = True, None, device
        self._place, self._names = place, columns
        self._rows = self._open(table_id, version)
        self._rows.adopt(descriptors)
        return self

    def _open(self, table_id: int, version: int) -> Rows:
        try:
            return Rows(self._place.directory, table_id, version, self._device, self._names)
        except SchemaError as error:
            raise SchemaError(f"table {self.name}: {error}") from None

    def _bring(self, rows: Rows, progress: Progress | None) -> None:
        """Load and pin, as was asked for."""
        if self._device == CPU:
            rows.pin(progress)
            return
        if self._resident is not False:
            rows.load(self._limit(), progress)
        if rows.resident < rows.count:
            if self._resident == "auto":
                warnings.warn(
                    f"table {self.name}: {rows.resident:,} of {rows.count:,} rows fit into the memory of "
                    f"{device_name(self._device)}; the others are read over the bus",
                    stacklevel=3,
                )
            rows.pin(progress)

    def _limit(self) -> int:
        """The budget as the library takes it."""
        if self._resident is True:
            return 0
        if self._budget is not None:
            return int(self._budget)
        free = describe(self._device).free_bytes
        return max(free - free // _LEFT_FREE, 1)

    def __enter__(self) -> DeviceTable:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        rows, on = self._rows, device_name(self._device)
        if rows is None:
            return f"<gridflow.cuda.DeviceTable {self.name} (closed)>"
        where = "resident" if rows.resident == rows.count else f"{rows.resident:,} resident"
        return f"<gridflow.cuda.DeviceTable {self.name} version {rows.version} on {on}, {rows.count:,} rows, {where}>"

    def __len__(self) -> int:
        return self.open_rows().count

    def open_rows(self) -> Rows:
        """The rows as they are on the device. Raises GridClosedError once the table is closed."""
        rows = self._rows
        if rows is None:
            raise GridClosedError(f"table {self.name} on {device_name(self._device)} was closed")
        return rows

    @property
    def name(self) -> str:
        """The table's name."""
        return self._place.name

    @property
    def device(self) -> int:
        """Number of the GPU, or -1 for host memory."""
        return self._device

    @property
    def columns(self) -> dict[str, DeviceColumn]:
        """The columns that are open, by name."""
        return dict(self.open_rows().columns)

    @property
    def version(self) -> int:
        """The version of the table that is open."""
        return self.open_rows().version

    @property
    def resident_rows(self) -> int:
        """How many rows are in the device's memory now."""
        return self.open_rows().resident

    def close(self) -> None:
        """Let the version go: its memory, once no view and no other process uses it, and what was pinned for it alone.

        What is shared under a path is not any more. May be called again.
        """
        while self._shares:
            self._shares.pop().close()
        self._rows = None

    def refresh(self, progress: Progress | None = None) -> bool:
        """Open the newest version instead, or that which the tag names now, brought to the device as this one was.

        Both are there while it is loaded. Views of this one stay as they are.

        Returns:
            Whether it is another version.

        Raises:
            TableNotFoundError: the table is gone.
            UsageError: the memory is shared by another process, which decides on the version.
        """
        rows = self.open_rows()
        if self._adopted:
            raise UsageError(f"table {self.name} is shared by another process: open what that shares now")
        place = self._place
        with open_table(place.name, None, place.directory) as (_, grid_table):
            stored = StoredTable.of(grid_table, place.version)
        if place.version is None:
            flush(place.directory, place.name)
        newer = self._open(stored.table_id, stored.version)
        if newer.version == rows.version:
            return False
        self._bring(newer, progress)
        self._rows = newer
        return True

    def gather(
        self,
        rows: Any,
        convert: Convert | Mapping[str, Convert] | None = None,
        stream: Any = None,
        out: Mapping[str, Any] | None = None,
        *,
        check: bool = True,
    ) -> dict[str, Any]:
        """Rows by number, in any order and as often as they are named.

        Args:
            rows: numbers in host memory; or int64 on the device, an ``Array`` or anything with
                ``__cuda_array_interface__``.
            convert: of all columns, or by column; columns without one stay as they are.
            stream: in which it happens: a CUstream, or a stream of PyTorch, CuPy or this module; None for the default
                stream.
            out: by column, where to put them, an array of the result's shape and dtype on the device; else in new ones,
                which wait for all work of the device when they are given back.
            check: whether to wait for rows that are on the device to be looked at. Else one that is not there gives
                zeros, and a later ``check`` says so.

        Returns:
            By column what ``out`` has for it, or an ``Array`` [rows, ...].

        Raises:
            RowNotFoundError: the table does not have one of the rows.
            SchemaError: a conversion does not fit its column.
            UsageError: ``rows`` or ``out`` is on another device, or of another shape or type.
            DeviceError: there is not enough memory.
        """
        return self._gather(self.open_rows(), rows, convert, stream, out, check)

    def _gather(self, open_rows: Rows, rows: Any, convert: Any, stream: Any, out: Any, check: bool) -> dict[str, Any]:
        handle = handle_of(stream)
        chosen, on_device = _row_numbers(rows, self._device)
        if on_device and chosen.stream is not None and not same_stream(chosen.stream, handle):
            synchronize(self._device, chosen.stream)
        count, pointer = chosen.shape[0], chosen.pointer

        def fill(position: int, conversion: Any, to: int) -> None:
            call("gather", open_rows.handle, position, pointer, on_device, count, conversion, to, handle)

        columns = self._filled(open_rows, fill, count, convert, handle, out, inputs=chosen)
        if on_device and check:
            call("check", open_rows.handle, handle)
        return columns

    def batch(
        self,
        start: int,
        count: int,
        convert: Convert | Mapping[str, Convert] | None = None,
        stream: Any = None,
        out: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Consecutive rows: a read-only view where they lie in the device's memory one behind the other, else a copy.

        Args:
            start, count: rows [start, start + count).
            convert, stream, out: as ``gather`` has them; a column with one of the first or the last is copied.

        Raises:
            RowNotFoundError: the table does not have all of them.
            SchemaError, UsageError, DeviceError: as ``gather``.
        """
        return self._batch(self.open_rows(), start, count, convert, stream, out)

    def _batch(self, open_rows: Rows, start: int, count: int, convert: Any, stream: Any, out: Any) -> dict[str, Any]:
        if start < 0 or count < 0 or start + count > open_rows.count:
            raise RowNotFoundError(
                f"table {self.name} has rows 0 to {open_rows.count - 1}, not [{start}, {start + count})"
            )
        if convert is None and out is None:
            views = self._views(open_rows, start, count)
            if len(views) == len(open_rows.columns):
                return views
        else:
            views = {}
        handle = handle_of(stream)

        def fill(position: int, conversion: Any, to: int) -> None:
            call("batch", open_rows.handle, position, start, count, conversion, to, handle)

        return self._filled(open_rows, fill, count, convert, handle, out, views)

    def _views(self, open_rows: Rows, start: int, count: int) -> dict[str, Array]:
        views, at, holder = {}, c_void_p(), c_void_p()
        view, where = library.load().gf_cuda_view, (byref(at), byref(holder))
        for position, (name, column) in enumerate(open_rows.columns.items()):
            if view(open_rows.handle, position, start, count, *where, None):  # a message is asked for when there is one
                call("view", open_rows.handle, position, start, count, *where)
            if at.value is not None:
                shape, loan = (count, *column.shape), _Loan(holder.value)
                views[name] = Array(shape, column.dtype_name, open_rows.device, at.value, loan, read_only=True)
        return views

    def _filled(
        self,
        open_rows: Rows,
        fill: Callable[[int, Any, int], None],
        count: int,
        convert: Convert | Mapping[str, Convert] | None,
        stream: int,
        out: Mapping[str, Any] | None,
        views: Mapping[str, Array] | None = None,
        inputs: Any = None,
    ) -> dict[str, Any]:
        """Columns as ``fill`` writes them, but for those in ``views``."""
        conversions = by_column(convert, open_rows.columns)
        for name in out or ():
            if name not in open_rows.columns:
                raise ColumnNotFoundError(f"out has column {name}; there are {', '.join(open_rows.columns)}")
        result: dict[str, Any] = {}
        for position, (name, column) in enumerate(open_rows.columns.items()):
            if views and name in views:
                result[name] = views[name]
                continue
            conversion = conversions.get(name)
            shape, dtype_name, native, places = column.shape, column.dtype_name, None, None
            if conversion is not None:
                shape, dtype_name = conversion.row_shape(shape, name), conversion.dtype
                native, places = conversion.native(count, open_rows.device, stream)
            if out and name in out:
                target = ArrayArgument(out[name], open_rows.device, f"out of column {name}", writable=True)
                if (target.shape, target.dtype_name) != ((count, *shape), dtype_name):
                    raise UsageError(
                        f"out of column {name} is {dtype_name}{[count, *shape]} here, not "
                        f"{target.dtype_name}{list(target.shape)}"
                    )
                array, pointer = out[name], target.pointer
            else:
                array = Array.empty((count, *shape), dtype_name, open_rows.device, stream=stream)
                pointer = array.pointer
            if isinstance(array, Array):
                # What the device reads must be there until it has: for as long as what it makes of it, at least.
                array._inputs, array.stream = (inputs, places), stream
            fill(position, None if native is None else byref(native), pointer)
            result[name] = array
        return result

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        drop_remainder: bool = False,
        convert: Convert | Mapping[str, Convert] | None = None,
        stream: Any = None,
    ) -> Iterator[dict[str, Any]]:
        """All rows of the version that is open now, once, in batches.

        Args:
            batch_size: rows in a batch; the last one may have fewer.
            shuffle: whether they come in a uniformly random order, another one at each call.
            seed: of that order; the same one gives the same order. None: at random.
            drop_remainder: whether to leave out a last batch that is not full.
            convert, stream: as ``gather`` has them.

        Raises:
            UsageError: ``batch_size`` is not at least 1.
        """
        open_rows = self.open_rows()
        by_column(convert, open_rows.columns)
        parts = batch_rows(open_rows.count, batch_size, shuffle, seed, drop_remainder)
        return (
            self._batch(open_rows, part.start, len(part), convert, stream, None)
            if isinstance(part, range)
            else self._gather(open_rows, part, convert, stream, None, False)
            for part in parts
        )

    def check(self, stream: Any = None) -> None:
        """Wait for a stream, and see whether all rows that were gathered since the last check are there.

        Raises:
            RowNotFoundError: one was not; what was gathered for it is zeros.
        """
        call("check", self.open_rows().handle, handle_of(stream))

    def share(self, path: str | os.PathLike[str]) -> Shared:
        """Let other processes of this user use the same copy in the GPU's memory; see ``open_shared``.

        It stays until the last of them has closed it, or ended, however this process ends.

        Args:
            path: of the Unix socket where they ask for it; it is made, and unlinked when what this returns or the table
                is closed.

        Raises:
            UsageError: not all rows are in the GPU's memory, or somebody shares a table there already.
            DeviceError: the GPU cannot share memory.
        """
        from .sharing import Shared  # circle: as above

        open_rows = self.open_rows()
        if self._device == CPU:
            raise UsageError(f"table {self.name} is in host memory, where every process maps it: open it there")
        if open_rows.resident < open_rows.count:
            raise UsageError(
                f"table {self.name} has {open_rows.resident:,} of {open_rows.count:,} rows in the memory of "
                f"{device_name(self._device)}; what is shared has all: open it with resident=True"
            )
        shared = Shared(self, open_rows, path)
        self._shares.append(shared)
        return shared


def batch_rows(
    count: int, batch_size: int, shuffle: bool, seed: int | None, drop_remainder: bool
) -> Iterator[range | np.ndarray]:
    """Which rows of ``count`` are in each batch: consecutive ones, or with ``shuffle`` an array of their numbers.

    Raises:
        UsageError: ``batch_size`` is not at least 1, or there is a seed of nothing.
    """
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
        raise UsageError(f"batch_size is a number of rows, at least 1, not {batch_size!r}")
    if seed is not None and not shuffle:
        raise UsageError("seed goes with shuffle=True")
    end = count - count % batch_size if drop_remainder else count
    starts = range(0, end, batch_size)
    if not shuffle:
        return (range(start, min(start + batch_size, count)) for start in starts)
    order = np.random.default_rng(seed).permutation(count)
    return (order[start : start + batch_size] for start in starts)


def _chosen(schema: Schema, columns: str | Iterable[str] | None, table: str) -> list[str]:
    """The names of the columns to open, all of which a device can hold."""
    if columns is None:
        names = [column.name for column in schema.columns if column.type.kind in NUMBERS]
        if not names:
            raise SchemaError(
                f"table {table} has no column of numbers, tensors, dates or times, which are what a device holds"
            )
        return names
    names = [columns] if isinstance(columns, str) else list(columns)
    if not names:
        raise UsageError("columns names none; leave it out for all")
    for name in names:
        column = schema[name]
        if column.type.kind not in NUMBERS:
            raise SchemaError(f"column {column}: a device holds numbers, tensors, dates and times")
    if len(set(names)) != len(names):
        raise UsageError(f"a column is named twice: {', '.join(names)}")
    return names


def _row_numbers(rows: Any, device: int) -> tuple[ArrayArgument, bool]:
    """Where the rows that are asked for are named, and whether that is in a GPU's memory."""
    on_device = hasattr(rows, "__cuda_array_interface__")
    if not on_device:
        numbers = np.asarray(rows)
        if numbers.size == 0 and numbers.ndim == 1:
            numbers = numbers.astype(np.int64)
        if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise UsageError(f"rows are int64[n], not {numbers.dtype}{list(numbers.shape)}")
        if numbers.dtype == np.uint64 and numbers.size and numbers.max() > np.iinfo(np.int64).max:
            raise RowNotFoundError(f"no table has a row {numbers.max()}")
        return ArrayArgument(np.ascontiguousarray(numbers, np.int64), CPU, "rows"), False
    argument = ArrayArgument(rows, device, "rows")
    if argument.dtype_name != "int64" or len(argument.shape) != 1:
        raise UsageError(f"rows are int64[n], not {argument.dtype_name}{list(argument.shape)}")
    return argument, True


def by_column(
    convert: Convert | Mapping[str, Convert] | None, columns: Mapping[str, DeviceColumn]
) -> Mapping[str, Convert]:
    """The conversion of each column that has one."""
    if convert is None:
        return {}
    if isinstance(convert, Convert):
        return dict.fromkeys(columns, convert)
    if not isinstance(convert, Mapping):
        raise UsageError(f"convert is a Convert, or a dict of them by column, not {convert!r}")
    for name, conversion in convert.items():
        if name not in columns:
            raise ColumnNotFoundError(f"convert has column {name}; there are {', '.join(columns)}")
        if not isinstance(conversion, Convert):
            raise UsageError(f"convert of column {name} is a Convert, not {conversion!r}")
    return convert
