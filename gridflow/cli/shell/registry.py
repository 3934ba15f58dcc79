"""The registry of the shell's own commands: declaration, look-up and call."""

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
    """The words after a command's name, as the user typed them: quotes included.

    Attributes:
        text: the words as one text.
    """

    def __init__(self, text: str):
        super().__init__(_WORD.findall(text))
        self.text = text


Action = Callable[["Session", Words], None]


@dataclass(frozen=True)
class Command:
    """A command of the shell.

    Attributes:
        names: all names, with their ``!`` or backslash; the first is the main one.
        arguments: the arguments in the notation of the help.
        help: one line.
        takes: the kind of completions of an argument: ``table``, ``column`` (a table, then a column), ``file``, or the
            words themselves.
        action: the function to call with the session and the words after the name.
    """

    names: tuple[str, ...]
    arguments: str
    help: str
    takes: str | tuple[str, ...]
    action: Action


COMMANDS: list[Command] = []


def shell_command(*names: str, arguments: str = "", takes: str | tuple[str, ...] = ()) -> Callable[[Action], Action]:
    """Register a function as a command of the shell; the first line of its docstring is the help."""

    def register(action: Action) -> Action:
        summary = (action.__doc__ or "").strip().split("\n", 1)[0]
        COMMANDS.append(Command(names, arguments, summary, takes, action))
        return action

    return register


def find_command(name: str) -> Command:
    """The command of a name.

    Raises:
        UsageError: there is no such command.
    """
    commands = {n: c for c in COMMANDS for n in c.names}
    match = commands.get(name.lower()) or commands.get(name)
    if match is None:
        candidates = [n for n in commands if n[0] == name[0]]
        raise UsageError(f"no command {name}; {did_you_mean(name, candidates, most=60)}; !help explains them")
    return match


def run_command(session: Session, text: str) -> None:
    """Run one command.

    Raises:
        UsageError: there is no such command, or the arguments are wrong.
    """
    name, _, rest = text.strip().rstrip(";").strip().partition(" ")
    if len(name) == 1:
        raise UsageError(f"a command's name follows {name}; !help lists them")
    find_command(name).action(session, Words(rest.strip()))


def unquoted(word: str) -> str:
    """A word without the quotes around it.

    >>> [unquoted(w) for w in ("plain", "'my file'", '"a ""b"" c"')]
    ['plain', 'my file', 'a "b" c']
    """
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1].replace(word[0] * 2, word[0])
    return word


def only_word(words: Words, usage: str) -> str:
    """The only word, without its quotes.

    Raises:
        UsageError: there is no word or more than one; the message is ``usage``.
    """
    if len(words) != 1:
        raise UsageError(f"type {usage}")
    return unquoted(words[0])


def check_at_most(words: Words, count: int, usage: str) -> None:
    """Refuse more than ``count`` words.

    Raises:
        UsageError: there are more; the message is ``usage``.
    """
    if len(words) > count:
        raise UsageError(f"type {usage}")


def choice(word: str, choices: tuple[str, ...], what: str) -> str:
    """The word in lower case, which has to be one of ``choices``.

    Raises:
        UsageError: the word is none of them; the message names ``what`` and the choices.
    """
    if word.lower() not in choices:
        raise UsageError(f"{what} is {', '.join(choices[:-1])} or {choices[-1]}, not {word}")
    return word.lower()
