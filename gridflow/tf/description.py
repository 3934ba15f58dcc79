"""What a dataset reads and how, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from .._native.snapshot import Snapshot
from ..cuda.devices import CPU
from .specs import Leaf
from .stages import Kind, Stage

if TYPE_CHECKING:
    from .reading import Reading


def describe(reading: Reading, elements: int, counters: dict[str, int]) -> str:
    """The text of ``Dataset.describe``.

    Args:
        reading: what the dataset reads.
        elements: how many elements it has now, or tf.data's number for what has no count.
        counters: as ``Dataset.counters`` has them.
    """
    table = reading.table
    snapshot = Snapshot.open(table.directory, table.table_id, table.version)
    segments = snapshot.segments()
    size = sum(segment[3] for segment in segments)
    lines = [
        f"{table.name}, version {snapshot.version}: {snapshot.rows:,} {'row' if snapshot.rows == 1 else 'rows'} in "
        f"{len(segments):,} {'segment' if len(segments) == 1 else 'segments'}, {_bytes(size)}"
    ]
    uncounted = {tf.data.INFINITE_CARDINALITY: "elements without an end", tf.data.UNKNOWN_CARDINALITY: "elements"}
    count = uncounted.get(elements, f"{elements:,} {'element' if elements == 1 else 'elements'}")
    parts = []
    if reading.condition is not None:
        for where, params in reading.condition.where:
            parts.append(f"where {where}" if params is None else f"where {where}, params {params}")
        others = {"order by": reading.condition.order_by, "weights": reading.condition.weights}
        parts += [f"{name} {text}" for name, text in others.items() if text is not None]
    parts += [_call(stage) for stage in reading.stages]
    lines.append(f"{count}: {', '.join(parts)}" if parts else count)
    leaves = list(_leaves(reading.leaves, ()))
    width = max(len(name) for name, _ in leaves)
    lines += [f"{name:{width}}  {leaf}" for name, leaf in leaves]
    on_gpu = reading.place is not None and reading.place.number != CPU
    pinned = f" ({_bytes(counters['pinned_bytes'])} of them pinned)" if on_gpu else ""
    lines.append(
        f"so far {counters['views']:,} views of {_bytes(counters['viewed_bytes'])}{pinned} and "
        f"{counters['copies']:,} copies of {_bytes(counters['copied_bytes'])}"
    )
    return "\n".join(lines)


def _call(stage: Stage) -> str:
    kind, first, second = stage
    arguments = {
        Kind.SHARD: f"{first}, {second}",
        Kind.BATCH: f"{first}, drop_remainder" if second else f"{first}",
        Kind.SHUFFLE: "all" if first < 0 else f"{first}",
        Kind.REPEAT: "" if first < 0 else f"{first}",
        Kind.SAMPLE: "",
    }
    return f"{kind.name.lower()}({arguments.get(kind, first)})"


def _leaves(part: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Leaf]]:
    """(name, leaf) of all components of an element."""
    if isinstance(part, dict | tuple):
        children = part.items() if isinstance(part, dict) else enumerate(part)
        for name, child in children:
            yield from _leaves(child, (*path, str(name)))
    else:
        yield ".".join(path), part


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
