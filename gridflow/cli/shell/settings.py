"""The settings of a session, which ``!set`` shows and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError, did_you_mean
from .layout import Look
from .registry import choice
from .rendering import check_format

if TYPE_CHECKING:
    from .session import Session  # circle: a session runs commands, which are about it

#: Setting -> description, for ``!set`` and the completion.
SETTINGS = {
    "outputformat": "how rows are printed; !help formats",
    "timing": "on or off: say how long each statement took",
    "pager": "on, off or a command: shows what is higher than the terminal ($PAGER, else less)",
    "rowlimit": "rows of a table; 0 for all; auto: 1,000 on a terminal without a pager",
    "maxcolumnwidth": "characters of a value in a table",
    "expanded": "on, off or auto: tables as vertical listings; auto where they are too wide",
    "onerror": "stop or continue: what a script does after an error",
    "editmode": "emacs or vi: the keys of the prompt",
}


@dataclass
class Settings:
    """The settings of one session, see ``SETTINGS``; the pager alone is an attribute of the output."""

    outputformat: str = "table"
    timing: bool = False
    rowlimit: int | None = None
    maxcolumnwidth: int = Look.cell
    expanded: str = "off"
    onerror: str = "stop"
    editmode: str = "emacs"


def setting_texts(session: Session) -> dict[str, str]:
    """The current settings as text, by name."""
    settings = session.settings
    return {
        "outputformat": settings.outputformat,
        "timing": "on" if settings.timing else "off",
        "pager": session.output.pager or "off",
        "rowlimit": "auto" if settings.rowlimit is None else str(settings.rowlimit),
        "maxcolumnwidth": str(settings.maxcolumnwidth),
        "expanded": settings.expanded,
        "onerror": settings.onerror,
        "editmode": settings.editmode,
    }


def set_value(session: Session, name: str, value: str) -> None:
    """Change a setting.

    Raises:
        UsageError: there is no such setting, or the value is wrong for it.
    """
    settings, name = session.settings, name.lower()
    if name not in SETTINGS:
        raise UsageError(f"no setting {name}; {did_you_mean(name, SETTINGS)}")
    if name == "outputformat":
        if check_format(value) == "arrow":
            raise UsageError("type !outputformat arrow FILE")
        settings.outputformat = check_format(value)
    elif name == "timing":
        settings.timing = choice(value, ("on", "off"), name) == "on"
    elif name == "pager":
        session.output.set_pager(value)
    elif name == "rowlimit":
        settings.rowlimit = None if value.lower() == "auto" else _number(name, value, 0)
    elif name == "maxcolumnwidth":
        settings.maxcolumnwidth = _number(name, value, len("NULL"))
    elif name == "expanded":
        settings.expanded = choice(value, ("on", "off", "auto"), name)
    elif name == "onerror":
        settings.onerror = choice(value, ("stop", "continue"), name)
    else:
        settings.editmode = choice(value, ("emacs", "vi"), name)
    session.output.note(f"{name}: {setting_texts(session)[name]}")


def _number(name: str, value: str, least: int) -> int:
    if not value.isdigit() or int(value) < least:
        raise UsageError(f"{name} is a whole number from {least}, not {value}")
    return int(value)
