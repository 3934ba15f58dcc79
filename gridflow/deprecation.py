"""Old spellings that stay for a while: each does what the new one does, and says how that is called."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def deprecated(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that a spelling is old.

    Args:
        old, new: what was written, and what to write now.
        stacklevel: of ``warnings.warn``, as seen from here: 3 is who called the caller of this function.
    """
    warnings.warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=stacklevel)


def renamed(old: str, old_value: _Value, new: str, new_value: _Value) -> _Value:
    """The value of an argument that has got another name; None where neither is given.

    Raises:
        UsageError: both are given.

    >>> renamed("path", None, "home", "/grid")
    '/grid'
    """
    if old_value is None:
        return new_value
    if new_value is not None:
        from .errors import UsageError  # circle: its old names are looked up here

        raise UsageError(f"{old}= is the old name of {new}=: give one of them")
    deprecated(f"{old}=", f"{new}=", stacklevel=4)
    return old_value


def old_attribute(module: str, name: str, renamed: Mapping[str, str]) -> Any:
    """What the ``__getattr__`` of a module gives: what it has under another name now.

    Args:
        module: the module's name.
        name: what was asked for.
        renamed: old name -> new name.

    Raises:
        AttributeError: it is none of the old names.
    """
    if name not in renamed:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    value = getattr(sys.modules[module], renamed[name])
    if sys._getframe(2).f_globals.get("__name__") != "importlib._bootstrap":  # `from x import y` asks twice
        deprecated(f"{module}.{name}", f"{module}.{renamed[name]}", stacklevel=4)
    return value
