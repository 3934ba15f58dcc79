"""RemoteSqlSession: SQL that runs at a node of another machine, statement by statement or as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from ..errors import SqlError
from ..protocols import messages
from ..protocols.json_values import encode_values
from ..sql import Prepared, Result, Session, execute_copy, runs_elsewhere
from ..sql.grammar.copy import CopyTo
from ..sql.routing import CONTROLS, IN_TRANSACTION
from .connection import COMMIT_TIMEOUT
from .effects import READING, writes

if TYPE_CHECKING:
    from ..faces import Report
    from .remote_grid import RemoteOpenGrid  # circle: a grid makes its sessions
    from .remote_transaction import RemoteTransaction

#: Kinds of statements that this process carries out itself.
_HERE = (*CONTROLS, "SET")
#: The view of what has come to this machine.
_MIRROR = re.compile(r"\bSYS\s*\.\s*MIRROR\b", re.IGNORECASE)


def _is_of_this_machine(text: str) -> bool:
    return isinstance(text, str) and _MIRROR.search(text) is not None


class RemoteSqlSession(Session):
    """Executes SQL at a node; BEGIN, COMMIT, COPY and SET are this process's.

    Args:
        grid: open here.
        changed, guard: as of ``Session``.
        within: the transaction whose ``sql`` this is for; statements are part of it, and it cannot end by them.
    """

    def __init__(
        self,
        grid: RemoteOpenGrid,
        *,
        changed: Callable[[Session], None] | None = None,
        guard: Callable[[str], None] | None = None,
        within: RemoteTransaction | None = None,
    ):
        super().__init__(within or grid, changed=changed, guard=guard)
        self._open_grid = grid
        self._within = within

    def run(self, text: str, params: Any, progress: Report | None) -> Result:
        """Execute a text: as a whole at the node, if nothing in it is this process's, else one after the other."""
        if self.in_transaction or not runs_elsewhere(text) or _is_of_this_machine(text):
            return self.execute(text, params, progress)
        self.check_going()
        self.check_allowed(text)
        if writes(text):
            self._open_grid._check_changeable()
        return self._open_grid.run_sql(text, params)

    def _one(self, statement: Prepared, values: dict[str, Any]) -> Result:
        kind = statement.kind
        if kind in _HERE or (kind == "SELECT" and _is_of_this_machine(statement.placed())):
            return super()._one(statement, values)
        transaction = self._here()
        if kind not in READING and not (kind == "COPY" and isinstance(statement.node, CopyTo)):
            self._open_grid._check_changeable()
        if transaction is None:
            if self.guard is not None:
                self.guard(kind)
        elif kind not in IN_TRANSACTION:
            raise SqlError(f"{kind} cannot be part of a transaction: COMMIT or ROLLBACK first")
        name = "" if transaction is None else transaction.key

        def run(text: str, params: Any) -> Result:
            result = self._open_grid.run_sql(text, params, name)
            if transaction is not None and kind not in ("SELECT", "COPY"):
                transaction.wrote = transaction.wrote or result.rowcount > 0
            return result

        if kind == "COPY":
            return execute_copy(transaction or self._open_grid, statement, values, run)
        return run(statement.placed(), statement.marks.parameters(values))

    def _here(self) -> RemoteTransaction | None:
        """The transaction that a statement is part of, if it is of one."""
        return self._within or cast("RemoteTransaction | None", self._open_transaction())

    def execute_many(self, text: str, sets: Iterable[Any]) -> Result:
        """Execute a statement with each of many sets of parameters, all as one commit; see ``Session.execute_many``."""
        transaction = self._here()
        if transaction is None:
            self.check_allowed(text)
        message = messages.SqlMany(text, "" if transaction is None else transaction.key, *encode_values(list(sets)))
        count = self._open_grid.connection.call(message, messages.Done, timeout=COMMIT_TIMEOUT).count
        if transaction is not None:
            transaction.wrote = transaction.wrote or count > 0
        return Result(rowcount=count, statement=text.split(None, 1)[0].upper())
