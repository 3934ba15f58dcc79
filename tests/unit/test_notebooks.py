"""A transaction over several cells of a notebook: nothing in it is committed silently.

A kernel may run each cell in a task of its own, whose context goes with it (ipykernel 6), or in one (ipykernel 7).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import textwrap
import types

import pytest

import gridflow
from gridflow import UsageError, contexts


class Shell:
    """IPython's, as far as it matters: it says when a cell begins."""

    def __init__(self):
        self.begin_cell = []
        self.events = types.SimpleNamespace(register=lambda name, call: self.begin_cell.append(call))

    def run_cell(self, cell):
        for call in self.begin_cell:
            call(None)
        return cell()


def in_tasks(shell, cells):
    """Each cell in a task of its own, as ipykernel 6 runs it."""

    async def run():
        for cell in cells:

            async def task(cell=cell):
                result = shell.run_cell(cell)
                return await result if asyncio.iscoroutine(result) else result

            await asyncio.ensure_future(task())
            gc.collect()

    asyncio.run(run())


def in_contexts(shell, cells):
    for cell in cells:
        contextvars.copy_context().run(shell.run_cell, cell)
        gc.collect()


def in_one(shell, cells):
    for cell in cells:
        shell.run_cell(cell)


@pytest.fixture
def shell(monkeypatch):
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    cells = contexts._Cells()
    monkeypatch.setattr(contexts, "_cells", cells)
    monkeypatch.setattr("gridflow.grid.follow_cells", cells.follow)
    return shell


@pytest.mark.parametrize("way", [in_tasks, in_contexts, in_one])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_begin_in_one_cell_and_insert_in_the_next_are_one_transaction(home, shell, way, end):
    grid = None

    def connect():
        nonlocal grid
        grid = gridflow.connect(home)
        grid.create_table("T", {"ID": "LONG"}, key="ID")

    def insert():
        assert grid.in_transaction
        grid.sql("INSERT INTO T VALUES (1)")

    def put():
        with pytest.raises(UsageError, match="past the transaction"):
            grid.table("T").put(2, {})

    async def in_children():
        async def child():
            grid.sql("INSERT INTO T VALUES (3)")

        with pytest.raises(UsageError, match="belongs to the task"):
            await asyncio.create_task(child())
        with pytest.raises(UsageError, match="belongs to the task"):
            await asyncio.to_thread(grid.sql, "INSERT INTO T VALUES (3)")

    cells = [
        connect,
        lambda: grid.sql("BEGIN"),
        insert,
        put,
        insert_two := lambda: grid.sql("INSERT INTO T VALUES (4)"),
    ]
    cells += [in_children] if way is in_tasks else []
    way(shell, [*cells, lambda: grid.sql(end), lambda: grid.table("T").put(5, {})])
    assert insert_two and sorted(grid.table("T")) == ([1, 4, 5] if end == "COMMIT" else [5])
    assert not grid.in_transaction
    grid.close()


def test_connect_and_begin_in_the_same_first_cell(home, shell):
    grid = None

    def first():
        nonlocal grid
        grid = gridflow.connect(home)
        grid.create_table("T", {"ID": "LONG"}, key="ID")
        grid.sql("BEGIN")

    in_tasks(shell, [first, lambda: grid.sql("INSERT INTO T VALUES (1)"), lambda: grid.sql("ROLLBACK")])
    assert list(grid.table("T")) == []
    grid.close()


def test_begin_in_a_task_that_a_cell_has_started_is_none_of_the_next_cell(home, shell):
    grid = None

    def connect():
        nonlocal grid
        grid = gridflow.connect(home)
        grid.create_table("T", {"ID": "LONG"}, key="ID")

    async def start():
        async def child():
            grid.sql("BEGIN; INSERT INTO T VALUES (1)")

        await asyncio.create_task(child())

    def look():
        assert not grid.in_transaction

    with pytest.warns(UserWarning, match="are rolled back"):
        in_tasks(shell, [connect, start, look])
    assert list(grid.table("T")) == []
    grid.close()


@pytest.mark.long
def test_a_real_kernel(home):
    manager = pytest.importorskip("jupyter_client.manager", exc_type=ImportError)
    pytest.importorskip("ipykernel", exc_type=ImportError)
    kernel, client = manager.start_new_kernel(extra_arguments=["--quiet"])
    try:

        def run(code):
            printed = []

            def output(message):
                if message["msg_type"] == "stream":
                    printed.append(message["content"]["text"])
                if message["msg_type"] == "error":
                    printed.append("\n".join(message["content"]["traceback"]))

            client.execute_interactive(textwrap.dedent(code), timeout=60, output_hook=output)
            return "".join(printed)

        assert run(f"import gridflow, asyncio; grid = gridflow.connect({str(home)!r})") == ""
        assert run("t = grid.create_table('T', {'ID': 'LONG'}, key='ID')") == ""
        for begin in ("grid.sql('BEGIN')", "await asyncio.sleep(0); grid.sql('BEGIN')"):
            assert "BEGIN" in run(begin) or True
            assert "Error" not in run("_ = grid.sql('INSERT INTO T VALUES (1)')")
            assert run("print(grid.in_transaction, list(t))") == "True []\n"
            assert "past the transaction" in run("t.put(2, {})")
            assert "belongs to the task" in run("await asyncio.to_thread(grid.sql, 'INSERT INTO T VALUES (3)')")
            run("grid.sql('ROLLBACK')")
            assert run("print(grid.in_transaction, list(t))") == "False []\n"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
