"""What a dataset is asked for: the arguments of ``Dataset``, and the classes that hold those that belong together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
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
        """With what Share, Draw and Follow say in the places of plain arguments.

        Raises:
            UsageError: one is none of these, or its plain form is given, too; an argument is no bool, or has no effect.
        """
        settled = self
        if share is not None:
            _check_class("share", share, Share)
            values = {"workers": share.workers, "share_by": share.by, "equal_batches": share.equal_batches}
            settled = settled._with("share", values)
        if draw is not None:
            _check_class("draw", draw, Draw)
            settled = settled._with("draw", dataclasses.asdict(draw))
        if isinstance(self.follow, Follow):
            settled = dataclasses.replace(settled, follow=True)._with("follow", {"timeout": self.follow.timeout})
        settled._check()
        return settled

    def _with(self, part: str, values: dict[str, Any]) -> Arguments:
        for name in values:
            if getattr(self, name) is not _DEFAULTS[name]:
                raise UsageError(f"{part}= says what {name} is: leave {name}= out")
        return dataclasses.replace(self, **values)

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
        if self.seed is not None and not self.shuffle and self.weights is None and self.balance is None:
            raise UsageError(
                f"seed {self.seed!r} has no effect without shuffle=True, weights= or balance=; "
                "that of .shuffle(n, seed) is given there"
            )


#: The plain arguments that are not given.
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Arguments)}


def _check_class(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"{name} is a gridflow.{kind.__name__}, not {value!r}")
