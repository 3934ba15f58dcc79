"""Parameters: ``?`` and ``?1`` filled from a sequence, ``:name`` from a mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sqlglot import exp

from ...errors import SqlError


class MarkList(exp.Expression, exp.Condition):
    """A long list of ``?`` after IN, as one leaf: their places are ``offsets``, and the first is named p``first``."""

    arg_types = {"offsets": True, "first": False, "name": False}

    @property
    def names(self) -> list[str]:
        """The names of the marks, in order."""
        first = self.args["first"]
        return [f"p{i}" for i in range(first, first + len(self.args["offsets"]))]


@dataclass(frozen=True)
class Marks:
    """The parameters of a statement.

    Attributes:
        positional: how many ``?`` marks there are.
        numbers: those of the ``?1``, ``?2``, ... marks, in order. They count through the whole text.
        names: those of the ``:name`` marks, in order.
    """

    positional: int = 0
    numbers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, tree: exp.Expression) -> Marks:
        """The marks of a statement; names each ``?`` in the tree p1, p2, ... in the text's order.

        Raises:
            SqlError: the statement has marks of two kinds.
        """
        marks = list(tree.find_all(exp.Placeholder))
        # A rewritten function may hold an argument twice: marks of one place in the text are one parameter.
        lists = list(tree.find_all(MarkList))
        places = {m.meta["offset"] for m in marks if "offset" in m.meta and "number" not in m.meta}
        offsets = sorted(places.union(*(node.args["offsets"] for node in lists)))
        numbers = sorted({m.meta["number"] for m in marks if "number" in m.meta})
        names = dict.fromkeys(m.name for m in marks if "offset" not in m.meta)
        if (offsets or numbers) and names:
            raise SqlError(f"a statement has either ? or :name parameters, not both (:{next(iter(names))})")
        if offsets and numbers:
            raise SqlError(f"a statement has either ? or ?{numbers[0]} parameters, not both")
        ordinals = {offset: ordinal for ordinal, offset in enumerate(offsets, 1)}
        for mark in marks:
            if "number" in mark.meta:
                mark.set("this", f"p{mark.meta['number']}")
            elif "offset" in mark.meta:
                mark.set("this", f"p{ordinals[mark.meta['offset']]}")
        for node in lists:
            node.set("first", ordinals[node.args["offsets"][0]])
        return cls(len(offsets), tuple(numbers), tuple(names))

    @cached_property
    def places(self) -> dict[str, Any]:
        """Mark -> index or key of the mark's value in the parameters of a statement that is executed alone."""
        if self.names:
            return {name: name for name in self.names}
        return {f"p{i}": i - 1 for i in self.numbers or range(1, self.positional + 1)}

    def parameters(self, values: Mapping[str, Any]) -> dict[str, Any] | list[Any]:
        """The parameters of the statement executed alone, of mark -> value."""
        if self.names:
            return dict(values)
        return [values.get(f"p{i}") for i in range(1, self.count + 1)]

    @property
    def count(self) -> int:
        """The number of parameters of a statement that is executed alone."""
        return len(self.names) or self.positional or max(self.numbers, default=0)


def assign(all_marks: Sequence[Marks], params: Any) -> list[dict[str, Any]]:
    """The parameters of each statement of a text.

    Args:
        all_marks: the marks of each statement.
        params: None, a sequence for ``?`` (each statement takes the next ones), a mapping for ``:name``.

    Returns:
        For each statement mark -> value.

    Raises:
        SqlError: a parameter is missing or there is one too many.
    """
    if len(all_marks) == 1 and type(params) in (list, tuple):
        (marks,) = all_marks
        if len(params) == marks.count and not marks.names:
            return [{mark: params[place] for mark, place in marks.places.items()}]
    unnumbered = sum(marks.positional for marks in all_marks)
    highest = max((number for marks in all_marks for number in marks.numbers), default=0)
    if unnumbered and highest:
        raise SqlError(f"the statements have ? and ?{highest} parameters: use one kind")
    count = unnumbered or highest
    names = {name for marks in all_marks for name in marks.names}
    if params is None:
        params = {} if names else ()
    if isinstance(params, Mapping):
        if count:
            raise SqlError(f"the statement has {_count_text(count, '?')}; give a list of values, not a mapping")
        marks_text = ", ".join(":" + name for name in sorted(names)) or "none"
        for name in names - set(params):
            params_text = ", ".join(map(str, params)) or "nothing"
            raise SqlError(f"no value for parameter :{name}; given: {params_text}")
        for name in set(params) - names:
            raise SqlError(f"no parameter :{name} in the statement; it has {marks_text}")
        return [{name: params[name] for name in marks.names} for marks in all_marks]
    if isinstance(params, (str, bytes)) or not isinstance(params, (Sequence, np.ndarray)):
        raise SqlError(f"params is a {type(params).__name__}; give a list or tuple for ?, a dict for :name")
    if names:
        raise SqlError(f"the statement has :{sorted(names)[0]}; give its parameters as a mapping")
    if len(params) != count:
        raise SqlError(f"the statement has {_count_text(count, '?')}, {len(params)} given")
    result, at = [], 0
    for marks in all_marks:
        result.append({mark: params[at + place] for mark, place in marks.places.items()})
        at += marks.positional
    return result


def _count_text(n: int, mark: str) -> str:
    return f"{n or 'no'} parameter{'' if n == 1 else 's'} {mark}".rstrip() if n else "no parameters"


def plain(value: Any) -> Any:
    """A value as DuckDB takes it: numpy's scalars and arrays become Python's."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
