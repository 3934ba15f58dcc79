"""What a field of a message may hold, by its declared type: JSON of another process, checked before anybody uses it."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

#: Takes what JSON gave for a field, and returns its value. Raises ValueError, with words that follow the field's name.
Check = Callable[[Any], Any]

#: How deep lists and dicts may lie in each other where anything may stand; nothing that is sent lies deeper.
MOST_LEVELS = 100


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both inclusive."""

    least: int
    most: int


@dataclass(frozen=True)
class Most:
    """The most characters of a text."""

    length: int


def check_of(declared: Any) -> Check:
    """The check of a declared type.

    >>> check_of(list[tuple[str, int]])([["a", 1]])
    [('a', 1)]
    >>> check_of(Annotated[int, Within(1, 9)])(10)
    Traceback (most recent call last):
    ...
    ValueError: is 10, not a number from 1 to 9
    """
    origin, arguments = get_origin(declared), get_args(declared)
    if declared is Any:
        return _anything
    if origin is Annotated:
        return _bounded(check_of(arguments[0]), arguments[1])
    if origin is Literal:
        return lambda value: _one_of(value, arguments)
    if origin in (Union, types.UnionType):
        (inner,) = (check_of(one) for one in arguments if one is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin is list:
        item = check_of(arguments[0])
        return lambda value: [item(one) for one in _a(value, list)]
    if origin is tuple:
        items = [check_of(one) for one in arguments]
        return lambda value: _tuple(value, items)
    if origin is dict:
        return lambda value: _anything(_a(value, dict))
    return lambda value: _a(value, declared)


def _a(value: Any, wanted: type) -> Any:
    if type(value) is not wanted:  # True is no number
        raise ValueError(f"is a {type(value).__name__}, not {wanted.__name__}")
    if wanted is str:
        _text(value)
    return value


def _text(value: Any) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is no text of Unicode: half of a surrogate pair is missing") from None


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if type(value) is not str or value not in choices:
        raise ValueError(f"is {_shown(value)}; there are {', '.join(choices)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def _tuple(value: Any, items: list[Check]) -> tuple[Any, ...]:
    if len(_a(value, list)) != len(items):
        raise ValueError(f"holds a list of {len(value)}, not of {len(items)}")
    return tuple(check(one) for check, one in zip(items, value, strict=True))


def _bounded(check: Check, bound: Within | Most) -> Check:
    def bounded(value: Any) -> Any:
        value = check(value)
        if isinstance(bound, Within) and not bound.least <= value <= bound.most:
            raise ValueError(f"is {_shown(value)}, not a number from {bound.least} to {bound.most}")
        if isinstance(bound, Most) and len(value) > bound.length:
            raise ValueError(f"has {len(value)} characters, of {bound.length} at most")
        return value

    return bounded


def _anything(value: Any, level: int = 0) -> Any:
    """Whatever JSON has, but for what nobody can write back."""
    if level > MOST_LEVELS:
        raise ValueError(f"holds lists or objects more than {MOST_LEVELS} deep in each other")
    if isinstance(value, str):
        _text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is too large")
    elif isinstance(value, list):
        for one in value:
            _anything(one, level + 1)
    elif isinstance(value, dict):
        for name, one in value.items():
            _text(name)
            _anything(one, level + 1)
    return value
