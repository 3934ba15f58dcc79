"""What a dataset is asked for: the arguments of ``Dataset``, and the classes that hold those that belong together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from ..grid import Grid
    from ..table import Table


@dataclass(frozen=True)
class Share:
    """One worker's share of a table, as ``Dataset(share=...)`` takes it.

    Attributes:
        workers: which of how many, as the argument ``workers`` of ``Dataset``.
        by: what shares have about equally many of: "partitions" or "rows", as the argument ``share_by``.
        equal_batches: whether all have the same number of batches, as the argument of that name.
    """

    workers: Any = "auto"
    by: str = "partitions"
    equal_batches: str | None = None


@dataclass(frozen=True)
class Draw:
    """The random order of rows, or how likely each is to be drawn, as ``Dataset(draw=...)`` takes it.

    Attributes:
        shuffle, seed, weights, balance: as the arguments of ``Dataset`` of these names.
    """

    shuffle: bool = False
    seed: int | None = None
    weights: str | None = None
    balance: str | None = None


@dataclass(frozen=True)
class Follow:
    """To go on with rows that are written later, as ``Dataset(follow=...)`` takes it.

    Attributes:
        timeout: the seconds without such a row after which the dataset ends; None for never.
    """

    timeout: float | None = None


@dataclass(frozen=True, eq=False)
class Arguments:
    """The plain arguments of ``Dataset``, which says what they mean."""

    table: str | Table
    grid: Grid | None = None
    home: str | os.PathLike[str] | None = None
    columns: Iterable[str] | None = None
    partitions: Any = None
    version: str | int | None = None
    workers: Any = None
    share_by: str = "partitions"
    equal_batches: str | None = None
    where: str | None = None
    params: Any = None
    more: tuple[tuple[str, Any], ...] = ()  # further conditions, of calls of ``where``, and their parameters
    order_by: str | None = None
    weights: str | None = None
    balance: str | None = None
    shuffle: bool = False
    seed: int | None = None
    as_supervised: Any = None
    elements: str = "nested"
    batch_size: int | None = None
    drop_remainder: bool = False
    follow: Any = False
    timeout: float | None = None
    nulls: str | Mapping[str, Any] = "error"
    device: Any = None

    def settled(self, share: Share | None, draw: Draw | None) -> Arguments:
        """With what Share, Draw and Follow say in the places of plain arguments; nothing that the caller may change.

        Raises:
            UsageError: one is none of these, or its plain form is given, too; an argument is no bool, or has no effect.
        """
        settled = dataclasses.replace(self, **{name: own(getattr(self, name)) for name in _OPEN})
        if share is not None:
            _check_class("share", share, Share)
            values = {"workers": share.workers, "share_by": share.by, "equal_batches": share.equal_batches}
            settled = settled._with("share", values)
        if draw is not None:
            _check_class("draw", draw, Draw)
            settled = settled._with("draw", dataclasses.asdict(draw))
        if isinstance(self.follow, Follow):
            timeout = self.follow.timeout
            settled = dataclasses.replace(settled, follow=True)._with("follow", {"timeout": timeout})
        settled._check()
        return settled

    def _with(self, part: str, values: dict[str, Any]) -> Arguments:
        for name in values:
            if not _is(getattr(self, name), _DEFAULTS[name]):
                raise UsageError(f"{part}= says what {name} is: leave {name}= out")
        return dataclasses.replace(self, **{name: own(value) for name, value in values.items()})

    def _check(self) -> None:
        remedies = {
            "shuffle": "True for a uniform order of all rows; .shuffle(1000) shuffles through a buffer of 1,000",
            "drop_remainder": "True to leave out a last batch that is not full",
            "follow": "True, or gridflow.Follow(timeout=60.0), to go on with rows that are written later",
        }
        for name, remedy in remedies.items():
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise UsageError(f"{name} is {value!r}, and should be True or False: {remedy}")
        if self.seed is not None and not hasattr(self.seed, "__index__"):
            raise UsageError(f"seed is {self.seed!r}, and should be a whole number")
        if self.timeout is not None and (isinstance(self.timeout, bool) or not isinstance(self.timeout, _NUMBERS)):
            raise UsageError(f"timeout is {self.timeout!r}, and should be a number of seconds")
        if self.seed is not None and not self.shuffle and self.weights is None and self.balance is None:
            raise UsageError(
                f"seed {self.seed!r} has no effect without shuffle=True, weights= or balance=; "
                "that of .shuffle(n, seed) is given there"
            )


#: What a number of seconds is.
_NUMBERS = (int, float, np.integer, np.floating)
#: Arguments that may be of classes whose values change, or that can be gone through only once.
_OPEN = ("columns", "partitions", "workers", "params", "as_supervised", "nulls")
#: The plain arguments that are not given.
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Arguments)}


def own(value: Any) -> Any:
    """A value that whoever gave it changes no more, and that can be gone through again and again.

    >>> own(iter([[1], {"A": bytearray(b"x")}]))
    ([1], {'A': b'x'})
    """
    if isinstance(value, Mapping):
        return {name: own(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list):
        return [own(one) for one in value]
    if isinstance(value, tuple | set | Iterator | KeysView | ValuesView):
        return tuple(map(own, value))
    return value


def _is(value: Any, default: Any) -> bool:
    """Whether a value is that of an argument that is not given; an array is not."""
    return value is default or (type(value) is type(default) and bool(value == default))


def _check_class(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"{name} is a gridflow.{kind.__name__}, not {value!r}")
