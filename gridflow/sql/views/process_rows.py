"""The rows of the system views about users, processes and statements, as dicts of their columns."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

from ...catalog.grants import list_grants
from ...catalog.users import list_users
from ...config import SOCKET_NAME, VERSION
from ...faces import OpenGridFace
from ...storage.expected_files import LOG
from ...storage.lock import holder
from ...storage.mirrors import listing
from ..grammar.schemas import PUBLIC_SCHEMA
from .table_rows import Row, of_tables


def users(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.USERS."""
    for user in list_users(grid):
        yield {"NAME": user.name, "CREATED": user.created, "CHANGED": user.changed}


def grants(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.GRANTS. Rights on a table that was dropped are none any more."""
    names = dict(of_tables(grid, lambda table: (table.table_id, table.name)))
    for user, table_id, right in list_grants(grid):
        if table_id is None or table_id in names:
            yield {"USER_NAME": user, "TABLE_NAME": None if table_id is None else names[table_id], "PRIVILEGE": right}


def nodes(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.NODES: who owns the grid. A reader knows of another process no more than its pid."""
    pid = os.getpid() if grid.owner else holder(grid.home)
    if pid is None:
        return
    served = (grid.home / SOCKET_NAME).exists()
    yield {
        "NODE_ID": grid._activity.node if grid.owner else None,
        "CONSISTENT_ID": str(grid.home),
        "VERSION": VERSION if grid.owner else None,
        "IS_CLIENT": False,
        "IS_LOCAL": grid.owner,
        "NODE_ORDER": 1,
        "ADDRESSES": _address(grid) if served else None,
        "HOSTNAMES": socket.gethostname(),
        "PID": pid,
        "START_TIME": _moment(grid._activity.started) if grid.owner else None,
    }


def _address(grid: OpenGridFace) -> str:
    return f"unix:{grid.home / SOCKET_NAME}"


def client_connections(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.CLIENT_CONNECTIONS."""
    for client in grid._activity.clients(_is_alive):
        yield {
            "CONNECTION_ID": client.number,
            "LOCAL_ADDRESS": client.door or _address(grid),
            "REMOTE_ADDRESS": client.address or f"pid:{client.pid}",
            "TYPE": "FLIGHT",
            "USER": client.user,
            "VERSION": client.release,
            "PID": client.pid,
            "START_TIME": _moment(client.since),
        }


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user: it lives
        return True
    return True


def mirror(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.MIRROR."""
    for table in listing():
        yield {
            "GRID": table.address,
            "SCHEMA_NAME": PUBLIC_SCHEMA,
            "TABLE_NAME": table.name,
            "SEGMENTS_COUNT": table.segments,
            "BYTES": table.bytes,
            "PRESENT_BYTES": table.present,
            "LAST_USED": _moment(table.used),
            "IN_USE": table.is_used,
        }


# ---- statements ----


def sql_queries(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.SQL_QUERIES; the statement that asks is among them."""
    now, before = time.perf_counter(), _before()
    for run in grid._activity.running():
        yield {
            "QUERY_ID": grid._activity.query_id(run.number),
            **_statement(run.text, run.kind),
            "ORIGIN_NODE_ID": grid._activity.node,
            "START_TIME": _moment(before + run.clock),
            "DURATION": round((now - run.clock) * 1e3),
            "PID": os.getpid(),
        }


def sql_queries_history(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.SQL_QUERIES_HISTORY, what ran last first."""
    before = _before()
    for text, entry in grid._activity.history():
        yield {
            **_statement(text, entry.kind),
            "EXECUTIONS": entry.executions,
            "FAILURES": entry.failures,
            "DURATION_MIN": round(entry.shortest * 1e3),
            "DURATION_MAX": round(entry.longest * 1e3),
            "LAST_START_TIME": _moment(before + entry.clock),
            "DURATION_LAST": entry.last * 1e3,
            "DURATION_TOTAL": entry.total * 1e3,
            "ROWS_COUNT": entry.rows,
            "LAST_ERROR": entry.error,
            "PID": os.getpid(),
        }


def _before() -> float:
    """The wall clock's seconds where the steady clock has 0."""
    return time.time() - time.perf_counter()


def _statement(text: str, kind: str) -> Row:
    return {"SQL": text, "SCHEMA_NAME": PUBLIC_SCHEMA, "LOCAL": True, "KIND": kind}


_SUMS = ("rows", "segments", "bytes", "deleted", "kept_bytes", "added_bytes", "moved_bytes", "bitmap_bytes")


def metrics(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
    """SYS.METRICS. Names are Ignite's where it measures the same."""
    for name, value, description in _metrics(grid):
        yield {"NAME": name, "VALUE": int(value), "DESCRIPTION": description}


def _metrics(grid: OpenGridFace) -> Iterator[tuple[str, float, str]]:
    activity = grid._activity
    stats = list(of_tables(grid, lambda table: table.stats()))
    total = {name: sum(one[name] for one in stats) for name in _SUMS}
    memory = [(one["memory_rows"], one["memory_bytes"]) for one in stats]
    log = []
    for entry in os.scandir(grid.home / LOG):
        with suppress(FileNotFoundError):  # a flush has made it go
            log.append(entry.stat().st_size)
    counts, failures, cancellations = activity.totals()
    yield "sys.UpTime", (time.time() - activity.started) * 1e3, "milliseconds since the grid was opened"
    yield "grid.Tables", len(stats), "tables"
    yield "grid.Segments", total["segments"], "segments of all tables"
    yield "grid.Rows", total["rows"], "rows in segments"
    yield "grid.DeletedRows", total["deleted"], "rows in segments that are gone, until they are merged"
    yield "grid.MemoryRows", sum(rows for rows, _ in memory), "rows and removals that are in no segment yet"
    yield "grid.MemoryBytes", sum(size for _, size in memory), "bytes of what is in no segment yet"
    yield "grid.LogFiles", len(log), "files of the log"
    yield "grid.LogBytes", sum(log), "bytes of the log's files, most of them allocated ahead"
    yield "grid.FreeBytes", shutil.disk_usage(grid.home).free, "bytes free on the grid's file system"
    yield "grid.KeptBytes", total["kept_bytes"], "bytes of files that only past versions of tables need"
    yield "grid.AddedBytes", total["added_bytes"], "bytes of segments written for rows that came from outside"
    yield "grid.MovedBytes", total["moved_bytes"], "bytes of segments written for rows that were in one already"
    yield "grid.BitmapBytes", total["bitmap_bytes"], "bytes of bitmaps of deleted rows that were written"
    yield "io.datastorage.StorageSize", total["bytes"] + total["kept_bytes"], "bytes of all segments, past ones too"
    if grid.owner:
        yield "grid.LastCommit", grid.last_commit, "number of the last commit"
        yield "client.connections.Active", len(activity.clients(_is_alive)), "clients of the grid's server"
    yield "sql.queries.user.success", sum(counts.values()) - failures, "statements that worked"
    yield "sql.queries.user.failed", failures, "statements that failed, or were cancelled"
    yield "sql.queries.user.canceled", cancellations, "statements that KILL QUERY ended"
    yield "sql.queries.user.running", len(activity.running()), "statements that run now, this one too"
    for kind, count in sorted(counts.items()):
        yield f"sql.statements.{kind.replace(' ', '_') or 'refused'}", count, f"statements {kind or 'not understood'}"


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).replace(tzinfo=None)
