"""Which part of a table one of several workers reads.

A share is a range of partitions. That of worker i of n is by default partitions ``i * P // n`` to ``(i + 1) * P // n``
of P: it follows from these three numbers alone, so shares are disjoint and cover everything even where workers open
the table at different times and find different versions of it, and a row stays with its worker when others are written.
Whatever depends on numbers of rows, shares balanced by rows and equal numbers of batches, is a pure function of one
version of the table: it is computed once, when the dataset is made, and the table must not change until all workers
have made theirs.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from .._native.snapshot import RowPlan, Snapshot
from ..errors import UsageError
from ..sql.execution.select_rows import Condition
from ..stored_table import StoredTable
from ..table import partition_ranges
from . import selection

# Launchers that number the processes they start: where each of them says so. Slurm's SLURM_NTASKS is there in a batch
# script, too, which is no task; this one is not.
_LAUNCHERS = (
    ("GRIDFLOW_WORKER_INDEX", "GRIDFLOW_WORKER_COUNT"),
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


class Portion(NamedTuple):
    """What a worker reads."""

    partitions: Any  # as Dataset takes them
    rows: int | None  # exactly so many in each epoch; None: as many as there are


def share(
    table: StoredTable,
    condition: Condition | None,
    partitions: Any,
    worker: tuple[int, int] | None,
    share_by: str,
    equal_batches: str | None,
) -> Portion:
    """The share of a worker, as ``find_worker`` has it; everything if that is None.

    Raises:
        UsageError: an argument is none of those there are, or needs others.
    """
    _check("share_by", share_by, ("partitions", "rows"))
    _check("equal_batches", equal_batches, (None, "drop", "repeat"))
    if worker is None:
        if equal_batches is not None or share_by != "partitions":
            name = "share_by" if equal_batches is None else "equal_batches"
            raise UsageError(f"{name} is about the shares of several workers: say which with workers=")
        return Portion(partitions, None)
    index, count = worker
    if count == 1:
        return Portion(partitions, None)
    chosen = _numbers(partitions, table)
    rows = _rows(table, condition, chosen) if share_by == "rows" or equal_batches is not None else None
    bounds = bounds_by_rows(rows, count) if share_by == "rows" else bounds_by_partitions(len(chosen), count)
    mine = chosen[bounds[index] : bounds[index + 1]]
    if equal_batches is None:
        return Portion(mine, None)
    totals = [int(rows[begin:end].sum()) for begin, end in zip(bounds, bounds[1:], strict=False)]
    if min(totals) == 0:
        raise UsageError(
            f"worker {totals.index(0)} of {count} has no rows of table {table.name}, so there are no equal numbers of "
            f"batches; the workers have {totals} rows. Use fewer workers, or share_by='rows'"
        )
    return Portion(mine, min(totals) if equal_batches == "drop" else max(totals))


def bounds_by_partitions(partitions: int, count: int) -> list[int]:
    """Where the shares of ``count`` workers begin and end, in ``partitions`` partitions.

    >>> bounds_by_partitions(10, 4)
    [0, 2, 5, 7, 10]
    """
    return [partitions * i // count for i in range(count + 1)]


def bounds_by_rows(rows: np.ndarray, count: int) -> list[int]:
    """The same, so that shares have about equal numbers of rows.

    Args:
        rows: of each partition, int64[partitions].
        count: of workers.

    >>> bounds_by_rows(np.array([0, 100, 0, 25, 25, 25, 25]), 2)
    [0, 2, 7]
    """
    # A partition goes to the share that its middle row falls in.
    middles = np.cumsum(rows) - rows / 2
    inner = np.searchsorted(middles, rows.sum() * np.arange(1, count) / count)
    return [0, *inner.tolist(), len(rows)]


def find_worker(workers: Any, environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """The worker that ``workers`` means, as index and number of workers; None if it means none.

    Args:
        workers: (index, number of workers), a ``tf.distribute.InputContext``, "auto" for what the environment says, or
            None.
        environment: TF_CONFIG and the variables of launchers.

    Raises:
        UsageError: there is no such worker, or the environment makes no sense.

    >>> find_worker("auto", {"GRIDFLOW_WORKER_INDEX": "1", "GRIDFLOW_WORKER_COUNT": "4"})
    (1, 4)
    >>> find_worker("auto", {})
    (0, 1)
    """
    if workers is None:
        return None
    if isinstance(workers, tf.distribute.InputContext):
        return workers.input_pipeline_id, workers.num_input_pipelines
    if isinstance(workers, str) and workers == "auto":
        return _of_cluster(environment) or _of_launcher(environment) or (0, 1)
    try:
        index, count = map(operator.index, workers)
    except (TypeError, ValueError):
        raise UsageError(
            f"workers is (index, number of workers), a tf.distribute.InputContext or 'auto', not {workers!r}"
        ) from None
    return _sound(index, count, f"workers={workers!r}")


@functools.cache
def options(is_share: bool) -> bytes:
    """What tf.distribute is to do with a dataset: nothing with a worker's share, else to deal its batches out.

    The policy that TensorFlow has by itself, AUTO, looks for a source that reads files it knows, finds none, and deals
    out the batches, those of a share too.
    """
    policy = tf.data.experimental.AutoShardPolicy
    result = tf.data.Options()
    result.experimental_distribute.auto_shard_policy = policy.OFF if is_share else policy.DATA
    return result._to_proto().SerializeToString()


def seeds_of_cluster(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Two seeds that all workers of TF_CONFIG's cluster agree on; None if there are no several workers.

    tf.distribute deals the batches out by having every worker count all of them: were they in an order of its own for
    each worker, rows would be lost and others come twice.
    """
    cluster = _config(environment).get("cluster", {})
    if len(_workers(cluster)) < 2:
        return None
    digest = hashlib.blake2b(json.dumps(cluster, sort_keys=True).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big") >> 1, int.from_bytes(digest[8:], "big") >> 1


def _check(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {' or '.join(map(repr, known))}, not {value!r}")


def _sound(index: int, count: int, setting: str) -> tuple[int, int]:
    if not 0 <= index < count:
        raise UsageError(f"{setting}: there is no worker {index} of {count}; they are numbered from 0")
    return index, count


# ---- environment ----


def _config(environment: Mapping[str, str]) -> dict[str, Any]:
    text = environment.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
        if not isinstance(config.get("cluster", {}), dict) or not isinstance(config.get("task", {}), dict):
            raise ValueError("cluster and task must be objects")
    except (ValueError, AttributeError) as error:
        raise UsageError(f"TF_CONFIG is {text!r}: {error}") from None
    return config


def _workers(cluster: dict[str, Any]) -> list[tuple[str, int]]:
    """The tasks that train, in the order in which tf.distribute numbers them."""
    return [(job, i) for job in ("chief", "master", "worker") for i in range(len(cluster.get(job, ())))]


def _of_cluster(environment: Mapping[str, str]) -> tuple[int, int] | None:
    config = _config(environment)
    workers = _workers(config.get("cluster", {}))
    task = config.get("task", {})
    job = task.get("type")
    if not workers or job == "evaluator":  # which is alone, and reads everything
        return None if not workers else (0, 1)
    try:
        return workers.index((job, int(task.get("index", 0)))), len(workers)
    except ValueError:
        raise UsageError(
            f"TF_CONFIG says that this is task {task}, which is no worker of the cluster; there are {workers}"
        ) from None


def _of_launcher(environment: Mapping[str, str]) -> tuple[int, int] | None:
    for index, count in _LAUNCHERS:
        if index in environment and count in environment:
            setting = f"{index}={environment[index]}, {count}={environment[count]}"
            try:
                numbers = int(environment[index]), int(environment[count])
            except ValueError as error:
                raise UsageError(f"{setting}: {error}") from None
            return _sound(*numbers, setting)
    return None


# ---- rows ----


def _numbers(partitions: Any, table: StoredTable) -> list[int]:
    """The partitions to share, in order."""
    if tf.is_tensor(partitions):
        raise UsageError("workers share partitions that are known when the dataset is made: give numbers, not a tensor")
    if isinstance(partitions, slice):
        partitions = range(*partitions.indices(table.partitions))
    ranges = partition_ranges(partitions, table.partitions, table.name)
    return [number for begin, end in ranges for number in range(begin, end)]


def _rows(table: StoredTable, condition: Condition | None, chosen: list[int]) -> np.ndarray:
    """How many rows of these partitions are read, int64[partitions]; of one version of the table."""
    snapshot = Snapshot.open(table.directory, table.table_id, table.version)
    plan = RowPlan.make(snapshot, partition_ranges(chosen, table.partitions, table.name))
    if condition is None or not chosen:
        return plan.partition_rows()
    text = selection.to_text(condition)
    code, message, selected = selection.select(table.directory, table.name, plan, text)
    if selected is None:
        raise tf.errors.exception_type_from_error_code(code)(None, None, message)
    if isinstance(selected, RowPlan):
        return selected.partition_rows()
    # Ordinals follow the hashes, and so the partitions.
    ends = np.cumsum(plan.partition_rows())
    return np.bincount(np.searchsorted(ends, selected.rows, side="right"), minlength=len(ends))
