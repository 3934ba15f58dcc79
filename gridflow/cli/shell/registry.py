"""How the shell's own commands are declared, found and called."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from .session import Session  # circle: a session runs commands, which are about it

_WORD = re.compile(r'"(?:[^"]|"")*"|' + r"'(?:[^']|'')*'|\S+")


class Words(list[str]):
    """The words after a command's name, as they were typed.

    Attributes:
        text: all of it as one text.
    """

    def __init__(self, text: str):
        super().__init__(_WORD.findall(text))
        self.text = text


Action = Callable[["Session", Words], None]


@dataclass(frozen=True)
class Command:
    """A command of the shell.

    Attributes:
        names: as they are typed, the first is the one to show.
        arguments: how its arguments are written in the help.
        help: one line.
        takes: what completes its arguments: ``table``, ``column`` (a table, then its columns), ``file``, or words.
        action: called with the session and the words after the name.
    """

    names: tuple[str, ...]
    arguments: str
    help: str
    takes: str | tuple[str, ...]
    action: Action


COMMANDS: list[Command] = []


def command(*names: str, arguments: str = "", takes: str | tuple[str, ...] = ()) -> Callable[[Action], Action]:
    """Register a function as a command; its docstring's first line is the help."""

    def register(action: Action) -> Action:
        summary = (action.__doc__ or "").strip().split("\n", 1)[0]
        COMMANDS.append(Command(names, arguments, summary, takes, action))
        return action

    return register


def find(name: str) -> Command:
    """The command of a name.

    Raises:
        UsageError: there is none.
    """
    known = {n: c for c in COMMANDS for n in c.names}
    found = known.get(name.lower()) or known.get(name)
    if found is None:
        same = [n for n in known if n[0] == name[0]]
        raise UsageError(f"no command {name}; {did_you_mean(name, same, most=60)}; !help explains them")
    return found


def run(session: Session, text: str) -> None:
    """Run one command.

    Raises:
        UsageError: there is none of that name, or it takes other arguments.
    """
    name, _, rest = text.strip().rstrip(";").strip().partition(" ")
    if len(name) == 1:
        raise UsageError(f"a command's name follows {name}; !help lists them")
    find(name).action(session, Words(rest.strip()))


def unquoted(word: str) -> str:
    """A word without the quotes around it.

    >>> [unquoted(w) for w in ("plain", "'my file'", '"a ""b"" c"')]
    ['plain', 'my file', 'a "b" c']
    """
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1].replace(word[0] * 2, word[0])
    return word


def one(words: Words, usage: str) -> str:
    """The only word, without its quotes.

    Raises:
        UsageError: there are none or more; says how the command is typed.
    """
    if len(words) != 1:
        raise UsageError(f"type {usage}")
    return unquoted(words[0])


def at_most(words: Words, count: int, usage: str) -> None:
    """Fail where there are more words.

    Raises:
        UsageError: there are; says how the command is typed.
    """
    if len(words) > count:
        raise UsageError(f"type {usage}")


def chosen(word: str, choices: tuple[str, ...], what: str) -> str:
    """One of some words.

    Raises:
        UsageError: it is none of them.
    """
    if word.lower() not in choices:
        raise UsageError(f"{what} is {', '.join(choices[:-1])} or {choices[-1]}, not {word}")
    return word.lower()
