"""What a dataset reads and how, as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from .._native.snapshot import Snapshot
from .stages import Kind, Stages

if TYPE_CHECKING:
    from ..source import Source
    from .dataset import Dataset  # circle: it describes what makes it


def describe(source: Source, condition: str, calls: Stages, leaves: Any, dataset: Dataset, on_gpu: bool) -> str:
    """The text of ``Dataset.describe``."""
    elements = int(dataset.cardinality())  # has newer rows flushed
    snapshot = Snapshot.open(source.directory, source.table_id, source.version)
    segments = snapshot.segments()
    size = sum(segment[3] for segment in segments)
    lines = [
        f"{source.name}, version {snapshot.version}: {snapshot.rows:,} {'row' if snapshot.rows == 1 else 'rows'} in "
        f"{len(segments):,} {'segment' if len(segments) == 1 else 'segments'}, {_bytes(size)}"
    ]
    said = {tf.data.INFINITE_CARDINALITY: "elements without an end", tf.data.UNKNOWN_CARDINALITY: "elements"}
    count = said.get(elements, f"{elements:,} {'element' if elements == 1 else 'elements'}")
    chosen = json.loads(condition) if condition else {}
    parts = [f"{name.replace('_', ' ')} {text}" for name, text in chosen.items() if text is not None]
    parts += [_call(kind, first, second) for kind, first, second in calls]
    lines.append(f"{count}: {', '.join(parts)}" if parts else count)
    paths = list(_paths(leaves, ()))
    width = max(len(name) for name, _ in paths)
    lines += [f"{name:{width}}  {leaf}" for name, leaf in paths]
    numbers = dataset.counters()
    pinned = f" ({_bytes(numbers['pinned_bytes'])} of them pinned)" if on_gpu else ""
    lines.append(
        f"so far {numbers['views']:,} views of {_bytes(numbers['viewed_bytes'])}{pinned} and {numbers['copies']:,} "
        f"copies of {_bytes(numbers['copied_bytes'])}"
    )
    return "\n".join(lines)


def _call(kind: Kind, first: int, second: int) -> str:
    arguments = {
        Kind.SHARD: f"{first}, {second}",
        Kind.BATCH: f"{first}, drop_remainder" if second else f"{first}",
        Kind.SHUFFLE: "all" if first < 0 else f"{first}",
        Kind.REPEAT: "" if first < 0 else f"{first}",
        Kind.SAMPLE: "",
    }
    return f"{kind.name.lower()}({arguments.get(kind, first)})"


def _paths(leaves: Any, path: tuple[str, ...]) -> Any:
    """(name, leaf) of all parts of an element."""
    if isinstance(leaves, dict | tuple):
        parts = leaves.items() if isinstance(leaves, dict) else enumerate(leaves)
        for name, part in parts:
            yield from _paths(part, (*path, str(name)))
    else:
        yield ".".join(path), leaves


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
