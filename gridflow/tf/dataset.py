"""Dataset: a table's rows as a tf.data source."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ..errors import UsageError
from ..table import Table, partition_ranges
from . import iterator, ops, specs
from .source import flush, resolve

if TYPE_CHECKING:
    from ..client import RemoteGrid
    from ..grid import Grid


class Dataset(tf.data.Dataset):
    """The rows of a table as a ``tf.data.Dataset``, read from the grid's mapped files without copying where possible.

    An element is ``{"key": ..., "val": ...}``. ``key`` is the key column, or a dict of the key's columns if there
    are several. ``val`` is a dict of the other columns, or the value itself in a cache of plain values. With
    ``batch_size`` every component has a batch dimension in front.

    ====================  ==========================================================================
    column                component
    ====================  ==========================================================================
    number, BOOL, tensor  the same dtype and shape
    STRING, BINARY        ``tf.string``
    DATE                  ``tf.int32``, days since 1970-01-01
    TIME                  ``tf.int64``, microseconds since midnight
    TIMESTAMP             ``tf.int64``, in the column's unit since 1970-01-01
    UUID                  ``tf.string`` of its 16 bytes
    DECIMAL               ``tf.string`` of its decimal text, such as ``b"12.30"``
    STRUCT                a dict of its fields
    LIST                  a vector of its items; in batches a ``tf.RaggedTensor``
    MAP                   ``{"key": ..., "value": ...}``, each as a LIST
    LIST<STRUCT>          a dict of its fields, each as a LIST; so is a MAP's value
    LIST<LIST>            a ``tf.RaggedTensor``, in batches of one more dimension; so is any deeper nesting
    ====================  ==========================================================================

    A null raises ``tf.errors.InvalidArgumentError`` when its row is read, unless ``nulls`` says otherwise. A null
    struct is a null in each of its fields. With ``nulls={"X2": -1.0}``, a null in column X2 is -1.0; ``"INFO.W"`` names
    a field of a struct, also of one in a list, and ``"M.value"`` the values of a map. Of a list, the value is for null
    items, and null lists are empty; with ``[]`` as the value, null items are still errors. With ``nulls="mask"``, what
    is null is zero, the empty string or an empty list, and boolean components say where there is a value:

    ======================  ========================================================================
    ``<NAME>_valid``        beside each component that may be null: which rows have a value, or a list
    ``<NAME>_items_valid``  beside each whose (innermost) lists may hold nulls: which items have a value
    ======================  ========================================================================

    Every new iterator, so every epoch, first has the writer flush and then reads the newest version of the table to
    its end, whatever is written meanwhile. (Where another process has the grid open without serving it, what that
    process has not flushed yet is not seen.) Rows come in the order of their key hashes, a random one that is the same
    in every epoch; ``shuffle`` mixes further. Ask for batches here rather than with ``.batch``: single rows cost about
    as much as a whole batch does.

    Tensors may be views of the grid's files, which never change: they stay valid when rows are overwritten, the table
    is dropped or the grid is closed. The version that was read last stays mapped for the next epoch as long as this
    dataset, or one made of it, is there; files that were replaced since take up their room until then. An iterator can
    be saved with ``tf.train.Checkpoint`` and restored as long as the table has not changed.

    Args:
        table: the name of a table, also as ``SQL_PUBLIC_<NAME>``, or a table of an open grid.
        grid: the open grid that has the table.
        home: the directory of the grid if no ``grid`` is given; None for the default one. It is read whoever owns it.
        columns: names of the value columns to read; None for all. Keys are always read.
        partitions: only these: a number, a range, a slice, several numbers, or an integer tensor of them.
        batch_size: rows in an element; None for single rows without a batch dimension.
        drop_remainder: whether to leave out a last batch that is not full, so that shapes are static.
        nulls: "error", "mask", or values for the nulls of some columns, by name or path; see above.

    Raises:
        TableNotFound: the grid has no such table.
        ColumnNotFound: the table has no such column, or one that ``nulls`` names.
        SchemaError: a value in ``nulls`` does not fit its column, the name of a mask is taken, or there is no such
            partition.
        UsageError: ``batch_size`` is not at least 1, or ``nulls`` is something else.

    >>> import gridflow, tempfile
    >>> with gridflow.connect(tempfile.mkdtemp()) as grid:
    ...     points = grid.create_table("POINTS", {"ID": "LONG", "XY": "FLOAT32[2]"}, key="ID")
    ...     points.put_all({1: {"XY": [0, 1]}, 2: {"XY": [2, 3]}})
    ...     for element in gridflow.Dataset("POINTS", grid=grid, batch_size=2):
    ...         print(float(tf.reduce_sum(element["val"]["XY"])))
    6.0
    """

    def __init__(
        self,
        table: str | Table,
        *,
        grid: Grid | RemoteGrid | None = None,
        home: str | os.PathLike[str] | None = None,
        columns: Iterable[str] | None = None,
        partitions: Any = None,
        batch_size: int | None = None,
        drop_remainder: bool = False,
        nulls: str | Mapping[str, Any] = "error",
    ):
        self._source = resolve(table, grid, home)
        if batch_size is not None and operator.index(batch_size) < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1, or None for single rows")
        if drop_remainder and batch_size is None:
            raise UsageError("drop_remainder needs a batch_size")
        leaves = specs.structure(self._source.schema, columns, self._source.name, nulls)
        self._spec = tf.nest.map_structure(lambda leaf: leaf.spec(batch_size, drop_remainder), leaves)
        self._inputs_of_op = {
            "directory": self._source.directory,
            "table_id": self._source.table_id,
            "table": self._source.name,
            "columns": [leaf.path for leaf in tf.nest.flatten(leaves)],
            "partitions": _pairs(partitions, self._source.partitions, self._source.name),
            "batch_size": batch_size or 0,
            "drop_remainder": drop_remainder,
        }
        self._untuned: iterator.Untuned | None = None  # made when it is first needed
        super().__init__(self._variant())

    def _variant(self) -> tf.Tensor:
        return ops.load().gridflow_dataset(**self._inputs_of_op, **self._flat_structure)

    def _inputs(self) -> list[tf.data.Dataset]:
        return []

    def __iter__(self) -> tf.data.Iterator:
        if not iterator.suits(self):
            return super().__iter__()
        if self._untuned is None:
            self._untuned = iterator.Untuned(self)
        return iterator.Iterator(self._untuned)

    @property
    def element_spec(self) -> dict[str, Any]:
        """The structure, dtypes and shapes of an element."""
        return self._spec

    def cardinality(self, name: str | None = None) -> tf.Tensor:
        """How many elements an iterator made now would have. A dataset derived from this one keeps its first answer."""
        # TensorFlow remembers what a dataset said once, and a table grows: ask a new one.
        flush(self._source.directory, self._source.name)
        return tf.raw_ops.DatasetCardinality(input_dataset=self._variant(), name=name)


def _pairs(partitions: Any, count: int, table: str) -> Any:
    """The op's pairs of partitions, begin and end; none for all ``count`` of them."""
    if partitions is None:
        return tf.zeros([0], tf.int64)
    if tf.is_tensor(partitions):  # of a map or interleave: checked by the op, when its value is known
        numbers = tf.reshape(tf.cast(partitions, tf.int64), [-1])
        pairs = tf.reshape(tf.stack([numbers, numbers + 1], axis=1), [-1])
        return tf.concat([pairs, _NO_PARTITIONS], axis=0)
    if isinstance(partitions, slice):
        partitions = range(*partitions.indices(count))
    numbers = [partitions] if hasattr(partitions, "__index__") else partitions
    ranges = partition_ranges([operator.index(number) for number in numbers], count, table)
    return [bound for pair in ranges for bound in pair] or _NO_PARTITIONS


_NO_PARTITIONS = [0, 0]  # an empty range, where no range at all would mean all partitions
