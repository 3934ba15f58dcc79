"""Work that calls itself for what is nested, and so may need more of a stack than its thread has."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")

#: Calls within each other after which work goes on in a thread of its own: well below Python's own limit.
_MOST_FRAMES = 200


def on_fresh_stack(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, in a thread of its own, since each thread has a stack of its own.

    Raises:
        RuntimeError: there can be no further thread.
    """
    answers: list[tuple[Any, BaseException | None]] = []

    def answer() -> None:
        try:
            answers.append((work(), None))
        except BaseException as error:
            answers.append((None, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(answer,), daemon=True)
    thread.start()
    thread.join()
    ((result, error),) = answers
    if error is not None:
        raise error
    return result


def spread_over_stacks(method: Callable[..., T]) -> Callable[..., T]:
    """A method that recurs, so that it goes on on a fresh stack where this one becomes full."""

    @wraps(method)
    def spread(self: Any, *args: Any, **kwargs: Any) -> T:
        if _is_deep():
            return on_fresh_stack(lambda: method(self, *args, **kwargs))
        return method(self, *args, **kwargs)

    return spread


def _is_deep() -> bool:
    try:
        sys._getframe(min(_MOST_FRAMES, sys.getrecursionlimit() // 2))
    except ValueError:
        return False
    return True
