"""The loop that reads statements from a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import create_output

from ...sql.text.secrets import hide_passwords
from .completion import SqlCompleter
from .highlighting import ShellLexer
from .session import Leave, Session, check_complete

PROMPT = "gridflow> "
PROMPT_IN_TRANSACTION = "gridflow*> "


def state_folder() -> Path:
    """The folder of the shell's history: ``$XDG_STATE_HOME/gridflow``, else ``~/.local/state/gridflow``."""
    root = os.environ.get("XDG_STATE_HOME")
    return (Path(root) if root else Path.home() / ".local" / "state") / "gridflow"


class _History(FileHistory):
    """History in a file, without the passwords of CREATE USER and ALTER USER."""

    def store_string(self, string: str) -> None:
        super().store_string(hide_passwords(string))


def _open_history() -> History:
    """The history file, which only the user may read; history in memory if the file cannot be written."""
    path = state_folder() / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return _History(str(path))


def _make_prompt(session: Session) -> PromptSession[str]:
    @Condition
    def unfinished() -> bool:
        # Enter ends an input that can run, and else starts a new line of it.
        return not check_complete(get_app().current_buffer.text)

    history = _open_history()
    session.history = lambda: list(prompt.history.get_strings())
    prompt: PromptSession[str] = PromptSession(
        history=history,
        lexer=ShellLexer(),
        completer=SqlCompleter(session),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        multiline=unfinished,
        prompt_continuation=lambda width, line, wrapped: "-> ".rjust(width),
        enable_history_search=False,
        enable_open_in_editor=True,
        mouse_support=False,
        # The prompt must not go into a pipe together with the rows.
        output=None if sys.stdout.isatty() else create_output(sys.stderr),
    )
    return prompt


def run_shell(session: Session) -> None:
    """Read and run input until Ctrl-D or ``!quit``. Ctrl-C clears the line, or cancels a running statement."""
    prompt = _make_prompt(session)
    session.output.note(f"{session.grid.home}: statements end with ;  !help lists commands, Ctrl-D leaves")
    while True:
        try:
            if not _read_and_run(prompt, session):
                return
        except KeyboardInterrupt:  # Ctrl-C at the prompt, or another one during the answer to the first
            continue


def _read_and_run(prompt: PromptSession[str], session: Session) -> bool:
    """Read and run one input. Returns False if the user leaves."""
    prompt.editing_mode = EditingMode.VI if session.settings.editmode == "vi" else EditingMode.EMACS
    try:
        text = prompt.prompt(PROMPT_IN_TRANSACTION if session.in_transaction else PROMPT)
    except EOFError:
        return False
    try:
        session.run_typed(text)
    except KeyboardInterrupt:
        session.report_cancellation()
    except Leave:
        return False
    return True
