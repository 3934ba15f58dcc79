"""Old spellings that stay for a while: each does what the new one does, and says how that is called."""

from __future__ import annotations

import warnings
from typing import TypeVar

from .errors import UsageError

_Value = TypeVar("_Value")


def deprecated(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that a spelling is old.

    Args:
        old, new: what was written, and what to write now.
        stacklevel: of ``warnings.warn``, as seen from here: 3 is who called the caller of this function.
    """
    warnings.warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=stacklevel)


def renamed(old: str, old_value: _Value | None, new: str, new_value: _Value | None) -> _Value | None:
    """The value of an argument that has got another name; None where neither is given.

    Raises:
        UsageError: both are given.

    >>> renamed("path", None, "home", "/grid")
    '/grid'
    """
    if old_value is None:
        return new_value
    if new_value is not None:
        raise UsageError(f"{old}= is the old name of {new}=: give one of them")
    deprecated(f"{old}=", f"{new}=", stacklevel=4)
    return old_value
