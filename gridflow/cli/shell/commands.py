"""The shell's own commands: sqlline's ``!tables`` and psql's ``\\dt`` mean the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ...errors import UsageError, did_you_mean
from . import rendering

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True)
class Command:
    """A command of the shell.

    Attributes:
        names: as they are typed, the first is the one to show.
        arguments: how its arguments are written in the help.
        help: one line.
        action: called with the session and the words after the name.
    """

    names: tuple[str, ...]
    arguments: str
    help: str
    action: Callable[[Session, list[str]], None]


COMMANDS: list[Command] = []
_WORD = re.compile(r'"(?:[^"]|"")*"|\S+')


def command(*names: str, arguments: str = "") -> Callable[..., Callable[..., None]]:
    """Register a function as a command; its docstring is the help."""

    def register(action: Callable[[Session, list[str]], None]) -> Callable[[Session, list[str]], None]:
        COMMANDS.append(Command(names, arguments, (action.__doc__ or "").strip(), action))
        return action

    return register


def is_command(text: str) -> bool:
    """Whether a text is for the shell and not SQL."""
    return text.lstrip().startswith(("!", "\\"))


def run(session: Session, text: str) -> None:
    """Run one command.

    Raises:
        UsageError: there is none of that name, or it takes other arguments.
    """
    words = _WORD.findall(text.strip().rstrip(";"))
    known = {name: c for c in COMMANDS for name in c.names}
    name = words[0].lower()
    if name not in known:
        raise UsageError(f"no command {words[0]}; {did_you_mean(name, known, most=60)}; !help explains them")
    known[name].action(session, words[1:])


@command("!tables", "\\dt")
def _tables(session: Session, words: list[str]) -> None:
    """List the tables with their rows and bytes."""
    _none(words, "!tables")
    tables = rendering.table_list(session.grid)
    if session.style != "table":
        rendering.show(tables, session.style, session.out)
    elif tables:
        session.out.print(rendering.table_overview(tables))
    else:
        session.note("no tables yet; CREATE TABLE makes one")


@command("!describe", "\\d", arguments="TABLE")
def _describe(session: Session, words: list[str]) -> None:
    """Show the columns of a table; without a name, the tables."""
    if not words:
        _tables(session, [])
        return
    table = session.grid.table(_table_name(session, _one(words, "!describe TABLE")))
    key = list(table.schema.key)
    columns = pa.table(
        {
            "COLUMN": [c.name for c in table.schema.columns],
            "TYPE": [c.type.text() for c in table.schema.columns],
            "NULLABLE": ["yes" if c.type.nullable else "no" for c in table.schema.columns],
            "KEY": [str(key.index(c.name) + 1) if c.name in key else "" for c in table.schema.columns],
        }
    )
    rendering.show(columns, session.style, session.out)


@command("!outputformat", "!format", arguments="|".join(rendering.FORMATS))
def _outputformat(session: Session, words: list[str]) -> None:
    """Set how rows are printed; without a name, say how they are."""
    if words:
        style = _one(words, "!outputformat FORMAT").lower()
        if style not in rendering.FORMATS:
            raise UsageError(f"no output format {style}; {did_you_mean(style, rendering.FORMATS)}")
        session.style = style
    session.note(f"output format: {session.style}")


@command("\\x")
def _vertical(session: Session, words: list[str]) -> None:
    """Switch between the output formats vertical and table."""
    _none(words, "\\x")
    session.style = "table" if session.style == "vertical" else "vertical"
    session.note(f"output format: {session.style}")


@command("!timing", "\\timing", arguments="[on|off]")
def _timing(session: Session, words: list[str]) -> None:
    """Say how long each statement took, or stop saying it."""
    word = _one(words, "!timing [on|off]").lower() if words else ("off" if session.timing else "on")
    if word not in ("on", "off"):
        raise UsageError(f"!timing takes on or off, not {word}")
    session.timing = word == "on"
    session.note(f"timing: {word}")


@command("!help", "\\?", "\\h")
def _help(session: Session, words: list[str]) -> None:
    """Show this list."""
    listing = pa.table(
        {
            "COMMAND": [f"{c.names[0]} {c.arguments}".strip() for c in COMMANDS],
            "ALSO": [" ".join(c.names[1:]) for c in COMMANDS],
            "WHAT IT DOES": [c.help for c in COMMANDS],
        }
    )
    rendering.show(listing, session.style, session.out)
    session.note("Statements end with ;  Ctrl-C clears the line or cancels, Ctrl-D leaves.")


@command("!quit", "!exit", "\\q")
def _quit(session: Session, words: list[str]) -> None:
    """Leave the shell."""
    from .session import Leave

    raise Leave


def _table_name(session: Session, word: str) -> str:
    """A table's name as it was typed: quoted, exact, or folded to upper case as SQL does."""
    if len(word) > 1 and word[0] == word[-1] == '"':
        return word[1:-1].replace('""', '"')
    return word if word in session.grid.tables() else word.upper()


def _one(words: list[str], usage: str) -> str:
    if len(words) != 1:
        raise UsageError(f"type {usage}")
    return words[0]


def _none(words: list[str], usage: str) -> None:
    if words:
        raise UsageError(f"{usage} takes no arguments")
