"""ServedGrid: a grid that another process of this machine serves."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from ..config import resolve_home
from ..errors import GridConnectionError, GridOwnedError, about
from ..grid import Grid
from ..protocols import grpc_forks, messages
from ..protocols.address import Endpoint
from ..protocols.json_values import encode_values
from ..storage.lock import holder
from .connection import COMMIT_TIMEOUT, LocalConnection
from .open_grid import ServedOpenGrid

if TYPE_CHECKING:
    from ..faces import Report
    from ..sql import Result
    from ..sql import Session as SqlSession


def connect_unix(home: str | os.PathLike[str] | None = None) -> ServedGrid:
    """Become a client of the node that serves a grid on this machine.

    Raises:
        GridOwnedError: the grid's owner does not answer on its socket: it does not serve, or not yet.
        GridConnectionError: nobody owns the grid any more, or the node speaks another version.
    """
    path = resolve_home(home)
    connection = LocalConnection(Endpoint.of_grid(path))
    try:
        try:
            connection.hello()
        except GridConnectionError as error:
            pid = holder(path)
            if pid is None or connection.answered or grpc_forks.is_lost():
                raise
            raise GridOwnedError(
                f"grid {path} is owned by process {pid}, which does not answer on its socket ({error}); "
                "if it has just started, try again, else connect with read_only=True",
                filename=str(path),
            ) from None
        return ServedGrid(ServedOpenGrid(path, connection))
    except BaseException:
        connection.close()
        raise


class ServedGrid(Grid):
    """A grid that another process owns, with the face of :class:`gridflow.Grid`; ``connect`` makes it.

    Reads map the grid's files and ask nobody, and see every write that was acknowledged before. Those of whole tables
    (``scan``, ``to_arrow``, queries, datasets) ask the owner to flush first where much is in no segment yet.
    Writes are sent and return once the owner has acknowledged them. Any thread may call it. After a fork
    the child may go on using it.
    """

    open_grid: ServedOpenGrid

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"served by process {self.owner_pid}"
        return f"<gridflow.ServedGrid {self.home} ({state})>"

    @property
    def owner_pid(self) -> int:
        """The process that serves the grid, as of the last time it said so."""
        return self.open_grid.welcome.pid

    @property
    def durability(self) -> str:
        """What its owner has opened the grid with: ``process`` or ``fsync``."""
        return self.open_grid.welcome.durability

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run SQL: queries, transactions and COPY here, over the mapped columns; anything else where the owner is.

        Args:
            text: one statement or several with ``;`` between them. If any of them changes something, all run
                at the owner; but between BEGIN and COMMIT here, and COMMIT sends what they have written. If one is a
                COPY or SET, each goes its way. Of an INSERT of one row of parameters that comes again, the row alone is
                sent.
            params: a sequence for ``?``, a dict for ``:name``.
            progress: as of :meth:`gridflow.Grid.sql`.

        Returns:
            The last statement's Result, as of :meth:`gridflow.Grid.sql`.
        """
        session = self._sessions.session if self._plain else self._session_here()
        result = self._run_sql(session or self._new_session(), text, params, progress)
        result.warn()
        return result

    def _run_sql(self, session: SqlSession, text: str, params: Any, progress: Report | None = None) -> Any:
        """Run SQL in a session of this handle. The caller warns of what the result notes."""
        if type(text) is str:
            result = session.insert_at_once(text, params)
            if result is not None:
                return result
        from ..sql import Result, Route, one_by_one, route

        node = str(self._activity.node)
        way = route(text, in_transaction=session.in_transaction, node=node)
        if way is Route.HERE:
            return super()._run_sql(session, text, params, progress)
        self.check_open()
        session.check_going()  # after the look whether a transaction is open
        session.check_allowed(text)
        if way is Route.OWNER:
            return self._sql_at_owner(session, text, params)
        result, notes = Result(), tuple[str, ...]()
        for way, statement, values in one_by_one(text, params, node):
            with about(line=statement.line):
                if way is Route.HERE:
                    result = session.execute_prepared(statement, values, progress)
                else:
                    session.check_going()
                    result = self._sql_at_owner(session, statement.placed(), statement.marks.parameters(values))
            notes += result.notes
        result.notes = notes
        return result

    def _sql_at_owner(self, session: SqlSession, text: str, params: Any) -> Result:
        """Have the owner run SQL."""
        from ..sql import Result

        limits = self._activity.limits
        message = messages.Sql(
            text, *encode_values(params), milliseconds=round((limits.seconds or 0) * 1000), memory=limits.memory or 0
        )
        if params and text[:6].upper() == "INSERT":  # which the owner may know how to do at once
            count = self.open_grid.connection.ring.ask(message, COMMIT_TIMEOUT)
            if count is not None:
                with contextlib.suppress(Exception):  # whatever it is, the row is written: it goes on as it went
                    session.learn_insert(text)
                return Result(rowcount=count, statement="INSERT")
        done, rows = self.open_grid.connection.query(message)
        return Result(
            rows if rows.num_columns else None, rowcount=done.count, statement=done.statement, notes=done.notes
        )

    def cancel(self) -> int:
        """Have the owner end the statements that other threads wait for here; returns how many there are.

        Each ends with its result if it was already done, else with an SqlError. Queries are not among them: they run
        in this process.
        """
        return self.open_grid.connection.cancel()
