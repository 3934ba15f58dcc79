"""What is called on a dataset that its op can do itself: skip, take, shard, shuffle, repeat and batch.

`push` adds a call to those before it, where kernels/ops/row_order.h says that the op understands the result. All stages
mean exactly what tf.data means by them; where they cannot, tf.data does them.
"""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import Any, NamedTuple

from ..errors import UsageError


class Kind(IntEnum):
    """As StageKind in kernels/ops/row_order.h."""

    SKIP = 0
    TAKE = 1
    SHARD = 2
    SHUFFLE = 3
    REPEAT = 4
    BATCH = 5
    SAMPLE = 6
    FILL = 7


class Stage(NamedTuple):
    """A call and its arguments."""

    kind: Kind
    first: int
    second: int = 0


Stages = tuple[Stage, ...]


def batch(batch_size: Any, drop_remainder: Any) -> Stage | None:
    """The stage that ``Dataset``'s arguments of these names are; None if there is no ``batch_size``.

    Raises:
        UsageError: ``batch_size`` is not at least 1, or there is a remainder of nothing.
    """
    if batch_size is None:
        if drop_remainder:
            raise UsageError("drop_remainder needs a batch_size")
        return None
    if operator.index(batch_size) < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1, or None for single rows")
    return Stage(Kind.BATCH, operator.index(batch_size), bool(drop_remainder))


def first(draws: bool, shuffles: bool, rows: int | None, batch: Stage | None) -> Stages:
    """The stages of a dataset on which nothing was called yet.

    Args:
        draws: whether rows are drawn by weight.
        shuffles: whether all are shuffled, where they are not drawn.
        rows: how many an epoch has; None for as many as there are.
        batch: the stage that makes batches, if there is one.
    """
    calls: Stages = ()
    if draws:
        calls += (Stage(Kind.SAMPLE, -1 if rows is None else rows),)
    elif shuffles:
        calls += (Stage(Kind.SHUFFLE, -1, 1),)
    if rows is not None:
        calls += (Stage(Kind.FILL, rows),)
    return calls if batch is None else (*calls, batch)


def push(stages: Stages, kind: Kind, first: Any, second: Any = 0) -> Stages | None:
    """The stages with one more; None if tf.data has to do it, or to say what is wrong with it.

    Args:
        stages: those before it.
        kind: what is called.
        first, second: its arguments. What is no number before the graph runs is for tf.data.

    >>> push((), Kind.BATCH, 32)
    (Stage(kind=<Kind.BATCH: 5>, first=32, second=0),)
    >>> push((Stage(Kind.BATCH, 32),), Kind.SHUFFLE, 100) is None
    True
    """
    try:
        stage = Stage(kind, operator.index(first), operator.index(second))
    except TypeError:
        return None
    return (*stages, stage) if _is_sound(stage) and _may_follow(stages, kind) else None


def find(stages: Stages, kind: Kind) -> Stage | None:
    """The stage of that kind, if there is one."""
    return next((stage for stage in stages if stage.kind is kind), None)


def _is_sound(stage: Stage) -> bool:
    if stage.kind is Kind.SHARD:
        return 0 <= stage.second < stage.first
    return stage.kind not in (Kind.BATCH, Kind.SHUFFLE) or stage.first >= 1


def _may_follow(stages: Stages, kind: Kind) -> bool:
    batched = find(stages, Kind.BATCH) is not None
    if find(stages, Kind.REPEAT) is not None:
        return kind is Kind.BATCH and not batched
    if kind is Kind.SHUFFLE:
        return not batched and find(stages, Kind.SHUFFLE) is None
    return kind is not Kind.BATCH or not batched
