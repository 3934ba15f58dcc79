"""What is written down of who came in, what was refused, and who changed tables, users and grants.

Each is one line of JSON of the logger ``gridflow.audit``, at the level INFO; ``gridflow serve --audit FILE`` appends
them to a file. No password and no token is in any. Statements and names are cut where they are long. Of refused logins
there are MOST_REFUSALS lines a second, as whoever reaches the port could fill the disk; the next one counts those left
out.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import threading
import time
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GridAccessError, os_failure
from ..protocols import messages

if TYPE_CHECKING:
    from ..sql.grammar.prepared import Prepared
    from .access import Peer  # circle: who comes in is written down by what lets them in

_log = logging.getLogger("gridflow.audit")
_MOST_TEXT = 2000
MOST_REFUSALS = 20
#: Kinds of statements and messages that change what tables, users and grants there are, or take all rows of a table.
STATEMENTS = frozenset(
    {
        *("CREATE TABLE", "CREATE TABLE AS", "ALTER TABLE", "DROP TABLE", "TRUNCATE", "CREATE INDEX", "DROP INDEX"),
        *("CREATE USER", "ALTER USER", "DROP USER", "GRANT", "REVOKE"),
    }
)
MESSAGES = (
    messages.CreateTable,
    messages.AlterTable,
    messages.DropTable,
    messages.Truncate,
    messages.Restore,
    messages.KeepVersions,
)


def to_file(path: Path) -> None:
    """Have all lines appended to a file, which is made for its owner alone; one that is moved away is made anew.

    Raises:
        GridAccessError, GridEnvironmentError: it cannot be written.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        handler = WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise os_failure(error, f"cannot write {path}") from None
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False


def login(door: object, address: str, user: str, error: BaseException | None = None) -> None:
    """Somebody has shown a password; or has shown nothing, or something else, that does not let in."""
    left_out = _refusals.left_out() if error is not None else 0
    if left_out is not None:
        _write("login", door, address, user, "", error, left_out)


def message(peer: Peer, done: messages.Message, error: BaseException | None = None) -> None:
    """A message was carried out, or refused."""
    if isinstance(done, MESSAGES) or isinstance(error, GridAccessError):
        what = f"{done.kind} {getattr(done, 'table', getattr(done, 'name', ''))}".strip()
        _write("message", peer.endpoint, peer.address, peer.user, what, error)


def statement(peer: Peer, done: Prepared, error: BaseException | None = None) -> None:
    """A statement was executed, or refused."""
    if done.kind in STATEMENTS or isinstance(error, GridAccessError):
        _write("statement", peer.endpoint, peer.address, peer.user, done.own_text, error)


class _Refusals:
    """Counts refused logins by the second. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._second = 0.0
        self._count = self._left_out = 0

    def left_out(self) -> int | None:
        """How many were not written since the last that was; None: this one is not to be written, either."""
        with self._lock:
            now = time.monotonic()
            if now - self._second >= 1:
                self._second, self._count = now, 0
            self._count += 1
            if self._count > MOST_REFUSALS:
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out


_refusals = _Refusals()


def _write(
    event: str,
    door: object,
    address: str,
    user: str | None,
    what: str,
    error: BaseException | None,
    left_out: int = 0,
) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    line: dict[str, object] = {
        "time": dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds"),
        "event": event,
        "outcome": "ok" if error is None else "refused" if isinstance(error, GridAccessError) else "failed",
        "user": user and user[:_MOST_TEXT],  # None: the grid's own
        "address": address,
        "door": str(door),
    }
    if what:
        line["what"] = what[:_MOST_TEXT]
    if left_out:
        line["left_out"] = left_out
    if error is not None:
        line["error"] = str(error).partition("\n")[0][:_MOST_TEXT]
    _log.info(json.dumps(line))
