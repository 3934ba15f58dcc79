"""The loop that reads statements from a terminal."""

from __future__ import annotations

import os
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import DynamicLexer, Lexer, PygmentsLexer, SimpleLexer
from pygments.lexers.sql import SqlLexer

from ...sql.secrets import hide_passwords
from .commands import is_command
from .completion import SqlCompleter
from .session import Leave, Session, check_complete

PROMPT = "gridflow> "


def state_folder() -> Path:
    """Where the user's shell history lies: ``$XDG_STATE_HOME/gridflow``, else ``~/.local/state/gridflow``."""
    root = os.environ.get("XDG_STATE_HOME")
    return (Path(root) if root else Path.home() / ".local" / "state") / "gridflow"


class _SafeHistory(FileHistory):
    """History without the passwords of CREATE USER and ALTER USER."""

    def store_string(self, string: str) -> None:
        super().store_string(hide_passwords(string))


def _history() -> History:
    """History in a file that only its user may read; in memory where none can be written."""
    path = state_folder() / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return _SafeHistory(str(path))


def _make_prompt(session: Session) -> PromptSession[str]:
    sql: Lexer = PygmentsLexer(SqlLexer)
    plain: Lexer = SimpleLexer()

    @Condition
    def unfinished() -> bool:
        # Enter ends the input once it can be run, and starts a new line before.
        return not check_complete(get_app().current_buffer.text)

    return PromptSession(
        history=_history(),
        lexer=DynamicLexer(lambda: plain if is_command(get_app().current_buffer.text) else sql),
        completer=SqlCompleter(session.grid),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        multiline=unfinished,
        prompt_continuation=lambda width, line, wrapped: "-> ".rjust(width),
        enable_history_search=False,
        mouse_support=False,
    )


def run(session: Session) -> None:
    """Read and run until Ctrl-D or ``!quit``. Ctrl-C clears the line, or cancels the statement that runs."""
    prompt = _make_prompt(session)
    session.note(f"{session.grid.home}: statements end with ;  !help lists commands, Ctrl-D leaves")
    while True:
        try:
            if not _read_and_run(prompt, session):
                return
        except KeyboardInterrupt:  # at the prompt, or one more while the first was answered
            continue


def _read_and_run(prompt: PromptSession[str], session: Session) -> bool:
    """One round; whether there shall be another."""
    try:
        text = prompt.prompt(PROMPT)
    except EOFError:
        return False
    try:
        session.run(text)
    except KeyboardInterrupt:
        session.cancelled()
    except Leave:
        return False
    return True
