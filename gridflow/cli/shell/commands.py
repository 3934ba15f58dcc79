"""The shell's own commands, by sqlline's names and by psql's: ``!tables`` and ``\\dt`` are one."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...protocols.address import is_address
from ..common import existing_home, open_or_read
from . import describing, showing  # noqa: F401 the imports register commands, in the order of the help
from .layout import pair_lines
from .output import open_text
from .registry import (
    COMMANDS,
    Words,
    check_at_most,
    choice,
    find_command,
    only_word,
    run_command,
    shell_command,
    unquoted,
)
from .rendering import FORMATS, VALUES, check_format
from .settings import SETTINGS, set_value, setting_texts

if TYPE_CHECKING:
    from .session import Session  # circle: a session runs commands, which are about it

__all__ = ["COMMANDS", "run_command"]
_ON_OFF = ("on", "off")


@shell_command("!outputformat", "!format", arguments="[FORMAT [FILE]]", takes=tuple(FORMATS))
def _outputformat(session: Session, words: Words) -> None:
    """Set how rows are printed; arrow takes a file. Without a format, say which it is"""
    check_at_most(words, 2, "!outputformat FORMAT, or !outputformat arrow FILE")
    if words:
        style = check_format(words[0])
        if (style == "arrow") != (len(words) == 2):
            raise UsageError(
                "type !outputformat arrow FILE" if style == "arrow" else f"{style} takes no file; \\o does"
            )
        session.settings.outputformat = style
        session.to_arrow_file(_path(words[1]) if style == "arrow" else None)
    where = f" to {session.arrow_path}" if session.arrow_path else ""
    session.output.note(f"output format: {session.settings.outputformat}{where}")


@shell_command("\\x", arguments="[on|off|auto]", takes=("on", "off", "auto"))
def _expanded(session: Session, words: Words) -> None:
    """Show tables as vertical listings: always, never, or where they are too wide"""
    opposite = "off" if session.settings.expanded == "on" else "on"
    session.settings.expanded = (
        choice(only_word(words, "\\x on|off|auto"), ("on", "off", "auto"), "\\x") if words else opposite
    )
    session.output.note(f"expanded: {session.settings.expanded}")


@shell_command("!timing", "\\timing", arguments="[on|off]", takes=_ON_OFF)
def _timing(session: Session, words: Words) -> None:
    """Say how long each statement took, or stop saying it"""
    opposite = "off" if session.settings.timing else "on"
    word = choice(only_word(words, "!timing on|off"), _ON_OFF, "!timing") if words else opposite
    session.settings.timing = word == "on"
    session.output.note(f"timing: {word}")


@shell_command("!set", "\\pset", arguments="[NAME [VALUE]]", takes=tuple(SETTINGS))
def _set(session: Session, words: Words) -> None:
    """Set something for this session; without a name, show all that can be"""
    if len(words) > 1:
        set_value(session, words[0], " ".join(map(unquoted, words[1:])))
    elif words:
        name = words[0].lower()
        if name not in SETTINGS:
            set_value(session, name, "")
        session.output.note(f"{name}: {setting_texts(session)[name]}")
    else:
        pairs = ((f"{name} {value}", SETTINGS[name]) for name, value in setting_texts(session).items())
        session.output.rows(pair_lines(pairs, session.output.look.width))


@shell_command("!run", "\\i", arguments="FILE", takes="file")
def _run(session: Session, words: Words) -> None:
    """Run the statements and commands of a file"""
    session.run_file(_path(only_word(words, "!run FILE")))


@shell_command("!script", arguments="[FILE]", takes="file")
def _script(session: Session, words: Words) -> None:
    """Save what is typed from now on to a file, for !run; without a file, end that"""
    check_at_most(words, 1, "!script [FILE]")
    if session.script is not None:
        session.script.close()
        session.output.note(f"script closed; !run {session.script.name} runs it again")
        session.script = None
    elif not words:
        raise UsageError("no script is being saved; type !script FILE")
    if words:
        session.script = open_text(_path(words[0]), private=True)
        session.output.note(f"what you type is saved to {session.script.name}; !script ends that")


@shell_command("!record", arguments="[FILE]", takes="file")
def _record(session: Session, words: Words) -> None:
    """Save all that is shown from now on to a file; without a file, end that"""
    check_at_most(words, 1, "!record [FILE]")
    before = session.output.record_path
    if before is None and not words:
        raise UsageError("nothing is being recorded; type !record FILE")
    session.output.record(_path(words[0]) if words else None)
    now = session.output.record_path
    session.output.note(f"all that is shown is saved to {now}; !record ends that" if now else f"{before} is closed")


@shell_command("\\o", arguments="[FILE]", takes="file")
def _output(session: Session, words: Words) -> None:
    """Write rows to a file instead of the terminal; without a file, end that"""
    check_at_most(words, 1, "\\o [FILE]")
    before = session.output.rows_path
    if before is None and not words:
        raise UsageError("rows go to the terminal already; type \\o FILE")
    session.output.redirect(_path(words[0]) if words else None)
    now = session.output.rows_path
    session.output.note(f"rows go to {now}; \\o ends that" if now else f"{before} is closed")


@shell_command("!history", "\\s", arguments="[COUNT]")
def _history(session: Session, words: Words) -> None:
    """List what was typed, the newest last"""
    check_at_most(words, 1, "!history [COUNT]")
    if words and not (words[0].isdigit() and int(words[0])):
        raise UsageError(f"!history takes a number of lines, not {words[0]}")
    texts = list(enumerate(session.history(), 1))
    count = int(words[0]) if words else len(texts)
    width = len(str(len(texts)))
    indent = "\n" + " " * (width + 3)
    session.output.rows(f"{n:>{width}}.  {text.replace(chr(10), indent)}\n" for n, text in texts[-count:])


@shell_command("!connect", "\\c", arguments="DIR", takes="file")
def _connect(session: Session, words: Words) -> None:
    """Go on with the grid in another directory, or at a node's address"""
    word = only_word(words, "!connect DIR, with a grid's directory or a node's address")
    if word.lower().startswith("jdbc:"):
        raise UsageError("a grid is a directory or grid://host[:port]: type !connect DIR")
    home = word if is_address(word) else existing_home(Path(word).expanduser())
    grid, why = open_or_read(home, read_only=session.read_only)
    session.connect(grid)
    if why:
        session.output.warn(f"read only: {why}")
    session.output.note(f"connected to {grid.home}")


@shell_command("!help", "\\?", "\\h", arguments="[COMMAND | formats]", takes=("formats",))
def _help(session: Session, words: Words) -> None:
    """Show this list, or one command, or what the output formats are and how they write values"""
    check_at_most(words, 1, "!help [COMMAND | formats]")
    if words and words[0].lower() == "formats":
        parts = (FORMATS.items(), "\njson, jsonlines, csv and tsv write\n", VALUES.items())
        lines = ([p] if isinstance(p, str) else pair_lines(p, session.output.look.width) for p in parts)
        session.output.rows(chain.from_iterable(lines))
        return
    selection = COMMANDS
    if words:
        selection = [find_command(words[0] if words[0][0] in "!\\" else "!" + words[0])]
    pairs = ((f"{', '.join(c.names)} {c.arguments}".strip(), c.help) for c in selection)
    session.output.rows(pair_lines(pairs, session.output.look.width))
    session.output.note(
        "Statements end with ;  Ctrl-C clears the line or cancels, Ctrl-D leaves, Ctrl-X Ctrl-E opens an editor."
    )


@shell_command("!quit", "!exit", "\\q")
def _quit(session: Session, words: Words) -> None:
    """Leave the shell"""
    from .session import Leave  # circle: as above

    raise Leave


def _path(word: str) -> Path:
    return Path(unquoted(word)).expanduser()
