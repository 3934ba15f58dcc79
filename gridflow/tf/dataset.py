"""Dataset: a table's rows as a tf.data source."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ..deprecation import renamed
from ..errors import UsageError
from ..stored_table import flush
from ..table import Table
from . import description, iterator, ops, selection, sharding, specs, stages
from .arguments import Arguments, Draw, Follow, Share, own
from .placing import place
from .reading import Reading, new_number, partition_bounds, seeds_of
from .resolving import resolve
from .stages import Kind

if TYPE_CHECKING:
    from ..client import ServedGrid
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
    process has not flushed yet is not seen.) Rows come in the order of their key hashes, a random one that follows
    from the keys alone, unless ``shuffle``, ``order_by`` or ``weights`` says otherwise: a row that is updated stays
    where it was, a new one comes in at its place, a removed one leaves the others as they are, and nothing else moves
    them. So ``take``, ``skip``, ``shard`` and ``shuffle`` with a seed mean the same rows as long as the keys are the
    same.

    ``skip``, ``take``, ``shard``, ``shuffle``, ``repeat``, ``batch`` and ``ragged_batch``, called on the dataset before
    anything else, are done where the rows are found, so that a batch is made at once and not of rows. They mean what
    tf.data means by them; where that cannot be kept (a second shuffle, say) tf.data does them. ``shuffle`` with a
    buffer as large as the table, or the argument ``shuffle=True``, needs no memory for it.

    Tensors may be views of the grid's files, which never change: they stay valid when rows are overwritten, the table
    is dropped or the grid is closed. The version that was read last stays mapped for the next epoch as long as this
    dataset, or one made of it, is there; files that were replaced since take up their room until then. An iterator can
    be saved with ``tf.train.Checkpoint`` and restored, in another process too, as long as the version that it reads is
    the newest or is kept (``Table.tag``, ``Table.keep_versions``); its state is a few numbers.

    Args:
        table: the name of a table, also as ``SQL_PUBLIC_<NAME>``, or a table of an open grid.
        grid: the open grid that has the table.
        home: the directory of the grid if no ``grid`` is given; None for the default one, which in another process that
            executes the dataset is the one that is ``$GRIDFLOW_DATASET_HOME`` or ``$GRIDFLOW_HOME`` there. It is read
            whoever owns it.
        columns: names of the value columns to read; None for all. Keys are always read.
        partitions: only these: a number, a range, a slice, several numbers, or an integer tensor of them. None, and no
            ``workers``: those that ``$GRIDFLOW_DATASET_PART`` names in the process that executes the dataset, else all.
        version: one that is kept, by its tag (``Table.tag``) or its number; None for the newest.
        workers: of these partitions only the share of one of several workers: (index, number of workers); a
            ``tf.distribute.InputContext``; or "auto" for what ``TF_CONFIG`` says, else ``GRIDFLOW_WORKER_INDEX`` and
            ``GRIDFLOW_WORKER_COUNT``, else Horovod, MPI or Slurm, else 1 worker. Shares are disjoint and cover all
            rows.
        share_by: "partitions": shares have equally many of them, whatever is written. "rows": partitions are shared
            so that there are about equally many rows in each; the table must not change until all workers have made
            their datasets.
        equal_batches: whether all workers are to give the same number of rows, hence of batches, in every epoch: "drop"
            leaves rows out where there are more than the smallest share has, "repeat" reads rows again where there
            are fewer than the largest has. The number is fixed when the dataset is made, of a table that must not
            change until all workers have made theirs; it holds however the table changes later.
        share: the same three as a ``gridflow.Share``.
        where: which rows, as SQL has it after WHERE, such as ``"LABEL < 5 AND SPLIT = ?"``. It is evaluated once for
            each version of the table, and must depend on nothing else (``RAND()``, another table) if an iterator is to
            be restored.
        params: the values of its parameters: a sequence for ``?``, a mapping for ``:name``.
        order_by: in which order, as SQL has it after ORDER BY, such as ``"TS"``.
        weights: a column or an SQL expression: rows are drawn with replacement, each in proportion to its weight, and
            an epoch is as many draws as there are rows.
        balance: a column or an SQL expression: as ``weights``, so that each of its values is drawn equally often.
        shuffle: whether rows come in a uniformly random order, another one in each epoch.
        seed: of ``shuffle`` and of draws; with the same seed, datasets give the same orders. None: TensorFlow's own
            rules (``tf.random.set_seed``), or at random; where ``TF_CONFIG`` has several workers, the same for all.
        draw: ``shuffle``, ``seed``, ``weights`` and ``balance`` as a ``gridflow.Draw``.
        as_supervised: (features, label), or (features, label, sample weights): elements are pairs, or triples, of these
            columns instead of dicts of key and value. A list of names in place of a name becomes a dict of them. Key
            columns may be among them.
        elements: "nested": as above. "flat": one dict, by column and without ``key`` and ``val``, of all columns, or of
            those that ``columns`` names, keys too; with ``as_supervised`` each part is a tensor or such a dict. Fields
            of a STRUCT are called ``INFO.W``. That is what a Keras model with named inputs takes.
        follow: whether to go on, at the end of the version that was the newest, with rows that are written or changed
            later, as they are committed. Rows that are removed are not told of. Or a ``gridflow.Follow``.
        timeout: the seconds without such a row after which a dataset that follows ends; None for never. ``stop`` ends
            it, too.
        batch_size: rows in an element; None for single rows without a batch dimension.
        drop_remainder: whether to leave out a last batch that is not full, so that shapes are static.
        nulls: "error", "mask", or values for the nulls of some columns, by name or path; see above.
        device: where the elements of a Python loop and of Keras's ``fit`` are to be, such as ``/GPU:0``: each is copied
            there while the one before is in use. For a GPU, the grid's files are pinned, so that it copies tensors from
            where they are mapped. A dataset that TensorFlow makes of this one (``map``, say) has only that: end it with
            ``tf.data.experimental.prefetch_to_device``. Iterators cannot be saved.
        snapshot: the old name of ``version``.

    Raises:
        TableNotFoundError: the grid has no such table.
        ColumnNotFoundError: the table has no such column, or one that ``nulls`` names.
        SchemaError: a value in ``nulls`` does not fit its column, the name of a mask is taken, or there is no such
            partition.
        VersionNotFoundError: there is no such version.
        SqlError: ``where``, ``order_by``, ``weights`` or ``balance`` is not what SQL has in that place.
        UsageError: arguments make no sense together, have no effect, or are something else, or ``batch_size`` is not at
            least 1.
        DeviceError: TensorFlow has no such device.

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
        grid: Grid | ServedGrid | None = None,
        home: str | os.PathLike[str] | None = None,
        columns: Iterable[str] | None = None,
        partitions: Any = None,
        version: str | int | None = None,
        workers: Any = None,
        share_by: str = "partitions",
        equal_batches: str | None = None,
        share: Share | None = None,
        where: str | None = None,
        params: Any = None,
        order_by: str | None = None,
        weights: str | None = None,
        balance: str | None = None,
        shuffle: bool = False,
        seed: int | None = None,
        draw: Draw | None = None,
        as_supervised: Any = None,
        elements: str = "nested",
        batch_size: int | None = None,
        drop_remainder: bool = False,
        follow: bool | Follow = False,
        timeout: float | None = None,
        nulls: str | Mapping[str, Any] = "error",
        device: Any = None,
        snapshot: str | int | None = None,
    ):
        arguments = Arguments(
            table=table,
            grid=grid,
            home=home,
            columns=columns,
            partitions=partitions,
            version=renamed("snapshot", snapshot, "version", version),
            workers=workers,
            share_by=share_by,
            equal_batches=equal_batches,
            where=where,
            params=params,
            order_by=order_by,
            weights=weights,
            balance=balance,
            shuffle=shuffle,
            seed=seed,
            as_supervised=as_supervised,
            elements=elements,
            batch_size=batch_size,
            drop_remainder=drop_remainder,
            follow=follow,
            timeout=timeout,
            nulls=nulls,
            device=device,
        )
        self._make(arguments.settled(share, draw))

    def _make(self, asked: Arguments) -> None:
        """Become the dataset of these arguments."""
        batch = stages.batch(asked.batch_size, asked.drop_remainder)
        condition = selection.condition_of(
            asked.where, asked.params, asked.more, asked.order_by, asked.weights, asked.balance
        )
        is_ordered = condition is not None and bool(condition.order_by or condition.weights)
        has_end = is_ordered or asked.shuffle or asked.equal_batches or asked.version is not None
        follow_ms = _follow_ms(asked.follow, asked.timeout, has_end)
        target = None if asked.device is None else place(asked.device)
        stored = resolve(asked.table, asked.grid, asked.home, condition, asked.version)
        leaves = specs.leaves(
            stored.schema, asked.columns, asked.as_supervised, stored.name, asked.nulls, asked.elements
        )
        if asked.follow and asked.drop_remainder and not specs.is_dense(leaves):
            raise UsageError("a batch of lists ends with its version, so drop_remainder would lose rows that follow")
        worker = sharding.find_worker(asked.workers)
        share = sharding.share(stored, condition, asked.partitions, worker, asked.share_by, asked.equal_batches)
        draws = condition is not None and condition.weights is not None
        is_named = isinstance(asked.table, str) and asked.grid is None and asked.home is None
        self._start(
            Reading(
                table=stored,
                is_default_grid=is_named,
                is_default_table=self._environment_wins,
                are_default_partitions=self._environment_wins or (asked.partitions is None and asked.workers is None),
                leaves=leaves,
                partition_bounds=partition_bounds(share.partitions, stored.partitions, stored.name),
                is_share=worker is not None,
                condition=condition,
                follow_ms=follow_ms,
                place=target,
                stages=stages.first(draws, asked.shuffle, share.rows, batch),
                seeds=seeds_of(asked.seed),
                instance=new_number(),
                epochs=new_number(),
            )
        )
        # A call of where means the very version that this one has found, wherever its tag is then, and this worker.
        version = None if asked.version is None else stored.version
        self._arguments: Arguments | None = replace(asked, version=version, workers=worker)

    _environment_wins = False  # it fills in what the arguments leave out

    def _start(self, reading: Reading, name: str | None = None) -> None:
        """Become the dataset of that reading."""
        self._reading = reading
        self._name = name  # tf.data looks for it here
        self._untuned: tf.data.Dataset | None = None  # what is iterated over, made when it is first needed
        tf.data.Dataset.__init__(self, self._variant())  # not super(), which in a subclass may be TensorFlow 1's

    def _variant(self) -> tf.Tensor:
        variant = ops.load().gridflow_dataset(**self._reading.inputs(), **self._common_args)
        options = sharding.options(self._reading.is_share)
        return tf.raw_ops.OptionsDataset(input_dataset=variant, serialized_options=options, **self._flat_structure)

    def _after(self, kind: Kind, first: Any, second: Any = 0, *, seed: Any = None, name: Any = None) -> Dataset | None:
        """This dataset with one more call that the op does itself; None if it cannot."""
        reading = self._reading.after(kind, first, second, seed)
        if reading is None:
            return None
        dataset = copy.copy(self)
        dataset._start(reading, name)
        dataset._arguments = None
        return dataset

    def _asked(self, method: str, instead: str, **changes: Any) -> Dataset:
        """The dataset of other arguments; only before the first call that is done on its rows."""
        if self._arguments is None:
            raise UsageError(
                f"{method} comes before skip, take, shard, shuffle, repeat and batch; after them call {instead}"
            )
        dataset = copy.copy(self)
        dataset._make(replace(self._arguments, **changes))
        return dataset

    def where(self, condition: str, params: Any = None) -> Dataset:
        """Only the rows for which a condition is true, as SQL has it after WHERE; of several calls, each must be.

        To be called first, before ``shuffle``, ``take`` and the like: it means the argument ``where`` of ``Dataset``,
        so that shuffles, draws and equal batches are of these rows. After them ``filter`` is the call.

        Args:
            condition: the condition. Values belong into ``params``: they are bound and never read as SQL.
            params: a sequence for ``?``, a mapping for ``:name``; of this condition alone.

        Raises:
            SqlError, ColumnNotFoundError: it is no condition by itself, or has not so many parameters, or others.
            UsageError: something else was called before.

        >>> import gridflow, tempfile
        >>> with gridflow.connect(tempfile.mkdtemp()) as grid:
        ...     names = grid.create_table("NAMES", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
        ...     names.put_all({1: {"NAME": "one"}, 2: {"NAME": "it's two"}})
        ...     [int(row["key"]) for row in names.dataset().where("NAME = ?", ["it's two"])]
        [2]
        """
        asked = self._arguments
        if not isinstance(condition, str):
            raise UsageError(f"a condition is SQL text, not {type(condition).__name__}")
        changes: dict[str, Any] = {}
        if asked is not None and asked.where is None:
            changes = {"where": condition, "params": own(params)}
        elif asked is not None:
            changes = {"more": (*asked.more, (condition, own(params)))}
        return self._asked("where", "filter", **changes)

    def supervised(self, features: Any, label: Any, weights: Any = None) -> Dataset:
        """Elements as Keras's ``fit`` takes them: (features, label), or (features, label, weights).

        To be called first, as ``where``; it means the argument ``as_supervised`` of ``Dataset``.

        Args:
            features, label, weights: names of columns; a list of names becomes a dict of them.

        Raises:
            ColumnNotFoundError: there is no such column.
            UsageError: something else was called before.

        >>> import gridflow, tempfile
        >>> with gridflow.connect(tempfile.mkdtemp()) as grid:
        ...     points = grid.create_table("POINTS", {"ID": "LONG", "X": "INT", "Y": "INT"}, key="ID")
        ...     points.put_all((i, {"X": i, "Y": -i}) for i in range(3))
        ...     [(int(x), int(y)) for x, y in points.dataset(order_by="ID").supervised("X", "Y")]
        [(0, 0), (1, -1), (2, -2)]
        """
        parts = (features, label) if weights is None else (features, label, weights)
        return self._asked("supervised", "map", as_supervised=own(parts))

    def batch(
        self,
        batch_size: Any,
        drop_remainder: Any = False,
        num_parallel_calls: Any = None,
        deterministic: Any = None,
        name: Any = None,
    ) -> tf.data.Dataset:
        """As ``tf.data.Dataset.batch``: made in one piece, where rows have equal shapes."""
        fits = self._reading.is_dense
        dataset = self._after(Kind.BATCH, batch_size, drop_remainder, name=name) if fits else None
        return dataset or super().batch(batch_size, drop_remainder, num_parallel_calls, deterministic, name)

    def ragged_batch(
        self, batch_size: Any, drop_remainder: Any = False, row_splits_dtype: Any = tf.int64, name: Any = None
    ) -> tf.data.Dataset:
        """As ``tf.data.Dataset.ragged_batch``: made in one piece."""
        # A ragged batch cannot go on in the next epoch.
        fits = tf.as_dtype(row_splits_dtype) == tf.int64 and (self._reading.is_dense or not self._reading.repeats)
        dataset = self._after(Kind.BATCH, batch_size, drop_remainder, name=name) if fits else None
        return dataset or super().ragged_batch(batch_size, drop_remainder, row_splits_dtype, name)

    def shuffle(
        self, buffer_size: Any, seed: Any = None, reshuffle_each_iteration: Any = True, name: Any = None
    ) -> tf.data.Dataset:
        """As ``tf.data.Dataset.shuffle``: the buffer holds numbers of rows, and none is needed if all rows fit in."""
        if stages.find(self._reading.stages, Kind.SAMPLE) and stages.push((), Kind.SHUFFLE, buffer_size):
            return self  # draws that do not depend on each other are in random order
        again = True if reshuffle_each_iteration is None else reshuffle_each_iteration
        dataset = self._after(Kind.SHUFFLE, buffer_size, again, seed=seed, name=name)
        return dataset or super().shuffle(buffer_size, seed, reshuffle_each_iteration, name)

    def shard(self, num_shards: Any, index: Any, name: Any = None) -> tf.data.Dataset:
        """As ``tf.data.Dataset.shard``: rows of others are not read."""
        return self._after(Kind.SHARD, num_shards, index, name=name) or super().shard(num_shards, index, name)

    def skip(self, count: Any, name: Any = None) -> tf.data.Dataset:
        """As ``tf.data.Dataset.skip``: what is skipped is not read."""
        return self._after(Kind.SKIP, count, name=name) or super().skip(count, name)

    def take(self, count: Any, name: Any = None) -> tf.data.Dataset:
        """As ``tf.data.Dataset.take``."""
        return self._after(Kind.TAKE, count, name=name) or super().take(count, name)

    def repeat(self, count: Any = None, name: Any = None) -> tf.data.Dataset:
        """As ``tf.data.Dataset.repeat``: each repetition reads the newest version of the table."""
        return self._after(Kind.REPEAT, -1 if count is None else count, name=name) or super().repeat(count, name)

    def _inputs(self) -> list[tf.data.Dataset]:
        return []

    def __iter__(self) -> tf.data.Iterator:
        target = self._reading.place
        if target is None and not iterator.suits(self):
            return super().__iter__()
        if target is not None and not tf.executing_eagerly():  # of this graph alone
            return iter(iterator.on_device(self, target.name))
        if self._untuned is None:
            untuned = iterator.Untuned(self)
            self._untuned = untuned if target is None else iterator.on_device(untuned, target.name)
        return iterator.Iterator(self._untuned) if target is None else iter(self._untuned)

    @property
    def element_spec(self) -> dict[str, Any]:
        """The structure, dtypes and shapes of an element."""
        return self._reading.element_spec

    def stop(self) -> None:
        """End the iterators of a dataset that follows its table, in this process, at the end of what they have.

        So do those that are made later.

        >>> import gridflow, tempfile
        >>> with gridflow.connect(tempfile.mkdtemp()) as grid:
        ...     events = grid.create_table("EVENTS", {"ID": "LONG"}, key="ID")
        ...     events.put_all((i, {}) for i in range(3))
        ...     rows = gridflow.Dataset("EVENTS", grid=grid, follow=True)
        ...     for number, row in enumerate(rows):
        ...         if number == 2:
        ...             rows.stop()
        ...     number
        2
        """
        ops.stop(self._reading.instance)

    def counters(self) -> dict[str, int]:
        """How much of what was read in this process was handed out where it lies, and how much was copied.

        Returns:
            ``views``, tensors of which no byte was copied, and their ``viewed_bytes``; ``copies``, the others, and the
            ``copied_bytes``; ``pinned_bytes``, of those viewed, what lay in pinned memory. Numbers only grow.
        """
        names = ("views", "viewed_bytes", "copies", "copied_bytes", "pinned_bytes")
        return dict(zip(names, ops.counters(self._reading.instance), strict=True))

    def describe(self) -> str:
        """What is read and how, as text: the version, its rows and bytes, each component, and what was copied so far.

        >>> import gridflow, tempfile
        >>> with gridflow.connect(tempfile.mkdtemp()) as grid:
        ...     points = grid.create_table("POINTS", {"ID": "LONG", "XY": "FLOAT32[2]"}, key="ID")
        ...     points.put_all((i, {"XY": [i, i]}) for i in range(3))
        ...     print(gridflow.Dataset("POINTS", grid=grid).batch(2).describe())
        POINTS, version 2: 3 rows in 1 segment, 584 bytes
        2 elements: batch(2)
        key     int64[]: a view where the values lie together and begin at a multiple of 64 bytes, else one copy
        val.XY  float32[2]: a view where the values lie together and begin at a multiple of 64 bytes, else one copy
        so far 0 views of 0 bytes and 0 copies of 0 bytes
        """
        return description.describe(self._reading, int(self.cardinality()), self.counters())

    def cardinality(self, name: str | None = None) -> tf.Tensor:
        """How many elements an iterator made now would have. A dataset derived from this one keeps its first answer."""
        # TensorFlow remembers what a dataset said once, and a table grows: ask a new one.
        flush(self._reading.table.directory, self._reading.table.name)
        return tf.raw_ops.DatasetCardinality(input_dataset=self._variant(), name=name)


def _follow_ms(follow: bool, timeout: float | None, has_end: Any) -> int:
    """The op's ``follow_ms``. ``has_end``: whether something else needs a last row."""
    if follow and has_end:
        raise UsageError(
            "follow goes on with rows as they come: leave version, shuffle, order_by, weights, balance and "
            "equal_batches out"
        )
    if timeout is not None and (not follow or timeout <= 0):
        raise UsageError(f"timeout {timeout!r}: it is how many seconds a dataset that follows waits, above 0")
    return 0 if not follow else -1 if timeout is None else max(1, round(timeout * 1000))
