"""The transaction that is open in a context, so that nothing is written past it by mistake.

A context is what ``contextvars`` has: each thread has one, each asyncio task has a copy of its maker's, and so has each
call of ``asyncio.to_thread``. A context variable holds a ``Mark`` of the transaction that is open; a copy inherits it.

    grid.sql("BEGIN")                  one mark; the context alone keeps it, and the transaction goes with the context
    with grid.session() as session:    one mark from session.sql("BEGIN") to its COMMIT or ROLLBACK
    with grid.transaction():           one mark until the end of the block

The cells of a notebook are one context to who types them, while the kernel may give each of them a copy. So IPython is
asked to say when a cell begins, and what is open in the last one is open in the next.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .faces import TransactionFace
    from .open_grid import OpenGrid  # circle: an open grid has its marks, which tell it that there are some
    from .sql import Session

#: Where a statement of ``grid.sql`` passes through before it begins a transaction.
_OWN = ("gridflow.contexts", "gridflow.grid", "gridflow.client", "gridflow.session", "gridflow.sql")
#: Why what a fork has copied cannot be used.
FORKED = "it was made before this process was forked: make another in the child"
#: Modules that call functions in contexts which end with the call.
_CALLERS = ("concurrent.futures", "threading", "asyncio", "anyio", "trio")


class Mark:
    """That a transaction is open in a context.

    Args:
        marks: those of its open grid.
        transaction: which; the mark does not keep it.
        remedy: what to say to who writes past it.
        session: that of ``grid.sql("BEGIN")``, if it was that.
        dropped: called when the context is gone, or its task has ended, before the transaction has.

    Attributes:
        stays: whether it outlasts its task, as it is of a notebook's cell.
    """

    __slots__ = (
        *("__weakref__", "_task", "_thread", "_transaction"),
        *("dropped", "marks", "outer", "remedy", "session", "stays"),
    )

    def __init__(
        self,
        marks: Marks,
        transaction: TransactionFace,
        remedy: str,
        session: Session | None,
        dropped: Callable[[], None] | None,
    ):
        self.marks = marks
        self.remedy = remedy
        self.session = session
        self.dropped = dropped
        self.stays = False
        self.outer = _pruned(_mark.get())
        self._transaction = weakref.ref(transaction)
        self.adopt()

    def adopt(self) -> None:
        """It belongs to the thread and task that call, from now on."""
        task = _current_task()
        self._thread = threading.get_ident()
        self._task = None if task is None else weakref.ref(task)

    @property
    def is_open(self) -> bool:
        """Whether its transaction is."""
        transaction = self._transaction()
        return transaction is not None and transaction.active

    @property
    def is_here(self) -> bool:
        """Whether the thread and task that call have begun the transaction, and not only inherited the mark."""
        task = None if self._task is None else self._task()
        return self._thread == threading.get_ident() and task is _current_task()

    @property
    def is_in_task(self) -> bool:
        """Whether an asyncio task has begun the transaction."""
        return self._task is not None

    @property
    def is_left(self) -> bool:
        """Whether the task that has begun the transaction has ended."""
        task = None if self._task is None else self._task()
        return self._task is not None and (task is None or task.done()) and not self.stays


_mark: ContextVar[Mark | None] = ContextVar("gridflow_mark", default=None)


class Marks:
    """The marks of one grid, however often it is open in this process. Any thread may call it.

    Attributes:
        lock: guards the marks, and what each open grid and its handles know of whether there are any. A mark goes where
            the garbage collector comes upon it, perhaps in a thread that is just here.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._refs: dict[int, weakref.ref[Mark]] = {}
        self._tasks: dict[int, weakref.ref[Mark]] = {}  # those of _refs that a task has made
        self._sweep_at = 8  # so many marks are looked through for such whose transactions are garbage
        self._grids: weakref.WeakSet[OpenGrid] = weakref.WeakSet()

    @classmethod
    def of(cls, grid: OpenGrid) -> Marks:
        """Those of the grid that is open there."""
        path = os.path.realpath(grid.home)
        with _all_lock:
            marks = _all.get(path)
            if marks is None:
                marks = _all[path] = cls()
        return marks

    def tell(self, grid: OpenGrid) -> None:
        """Tell an open grid whether there are any, now and when that changes."""
        with self.lock:
            self._grids.add(grid)
            grid._marks_changed(bool(self._refs))

    def enter(
        self,
        transaction: TransactionFace,
        remedy: str,
        session: Session | None = None,
        dropped: Callable[[], None] | None = None,
    ) -> Mark:
        """Mark this context, until ``leave``."""
        mark = Mark(self, transaction, remedy, session, dropped)
        number = id(mark)
        ref = weakref.ref(mark, lambda _: self._gone(number, dropped))
        with self.lock:
            if len(self._refs) >= self._sweep_at:
                for other in [ref() for ref in self._refs.values()]:
                    if other is not None and not other.is_open:
                        self.leave(other)
                self._sweep_at = 8 + 2 * len(self._refs)
            self._refs[number] = ref
            if mark.is_in_task:
                self._tasks[number] = ref
            if len(self._refs) == 1:
                self._changed()
        _mark.set(mark)
        _cells.add(mark)
        return mark

    def leave(self, mark: Mark) -> None:
        """The transaction has ended, in whatever context."""
        _cells.remove(mark)
        if _mark.get() is mark:
            _mark.set(_innermost(mark.outer))
        self._forget(id(mark))

    def _forget(self, number: int) -> bool:
        with self.lock:
            was_there = self._refs.pop(number, None) is not None
            self._tasks.pop(number, None)
            if was_there and not self._refs:
                self._changed()
        return was_there

    def _changed(self) -> None:
        for grid in list(self._grids):
            grid._marks_changed(bool(self._refs))

    def _gone(self, number: int, dropped: Callable[[], None] | None) -> None:
        if self._forget(number) and dropped is not None:
            dropped()

    def here(self) -> Mark | None:
        """The mark of the transaction of this grid that was opened last, of those open in this context."""
        for mark in [ref() for ref in list(self._tasks.values())] if self._tasks else ():
            if mark is not None and mark.is_left:
                was_open = mark.is_open
                self.leave(mark)
                if was_open and mark.dropped is not None:
                    mark.dropped()
        here = _mark.get()
        while here is not None and not (here.marks is self and here.is_open):
            outer = here.outer
            if not here.is_open:  # its transaction is garbage, or ended in another context
                here.marks.leave(here)
            here = outer
        return here

    def forked(self) -> None:
        """In a forked child: the transactions are the parent's."""
        self.lock = threading.RLock()
        self._refs.clear()
        self._tasks.clear()
        self._changed()


#: By the real path of the grid's directory.
_all: weakref.WeakValueDictionary[str, Marks] = weakref.WeakValueDictionary()
_all_lock = threading.Lock()  # guards it


def is_marked() -> bool:
    """Whether a transaction, of whatever grid, may be open in this context."""
    return _mark.get() is not None


def forked() -> None:
    """In a forked child: nothing is open here."""
    global _all_lock
    _all_lock = threading.Lock()
    for marks in list(_all.values()):  # first, so that no mark is taken for one whose context is gone
        marks.forked()
    _mark.set(None)


def _innermost(mark: Mark | None) -> Mark | None:
    """A mark or the next one outside of it that is still open."""
    while mark is not None and not mark.is_open:
        mark = mark.outer
    return mark


def _pruned(mark: Mark | None) -> Mark | None:
    """``_innermost``, with nothing that has ended outside of it."""
    innermost = _innermost(mark)
    inner = innermost
    while inner is not None:
        outer = _innermost(inner.outer)
        inner.outer = outer
        inner = outer
    return innermost


@contextmanager
def unmarked() -> Iterator[None]:
    """The block writes for a session of its own: it is not past whatever is open in this context."""
    outer = _mark.get()
    if outer is None:
        yield
        return
    _mark.set(None)
    try:
        yield
    finally:
        begun = _mark.get()
        if begun is not None:
            begun.outer = _innermost(outer)
        _mark.set(begun or _innermost(outer))


class Place(NamedTuple):
    """A line of the program that uses Gridflow.

    Attributes:
        file, line: where it is.
        module: the name of its module.
    """

    file: str
    line: int
    module: str

    @classmethod
    def of_call(cls) -> Place:
        """The one that calls Gridflow."""
        frame = inner = sys._getframe(1)
        while frame is not None and _is_of(frame, ("gridflow",)):
            inner, frame = frame, frame.f_back  # type: ignore[assignment]  # the outermost has none
        frame = frame or inner
        return cls(frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__", ""))

    def warn(self, message: str) -> None:
        """Warn of what was begun here; each time, also where one warning of a line is enough by default."""
        warnings.warn_explicit(message, UserWarning, self.file, self.line, self.module)


def ends_with_its_call() -> bool:
    """Whether a method was called by what calls a function in a context of its own, or a pool's, and is all of it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_of(frame, _OWN):
        frame = frame.f_back
    return frame is not None and _is_of(frame, _CALLERS)


def _is_of(frame: FrameType, modules: tuple[str, ...]) -> bool:
    name = frame.f_globals.get("__name__", "")
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _current_task() -> Any:
    # Nobody is in a task who has not imported it; while another thread does, there is a module without functions.
    current_task = getattr(sys.modules.get("asyncio"), "current_task", None)
    try:
        return None if current_task is None else current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


class _Cells:
    """The cells of a notebook, or of IPython in a terminal: what is open in one is open in the next."""

    def __init__(self) -> None:
        self._shell: Any = None
        self._thread = 0
        self._task: weakref.ref[Any] | None = None
        self._marks: list[Mark] = []

    def follow(self) -> None:
        """Have IPython, if it is there, say when a cell begins. One has begun already: who calls is in it."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is not None and shell is not self._shell:
            self._shell = shell
            self._begin()
            shell.events.register("pre_run_cell", self._begin)

    def _begin(self, *_: Any) -> None:
        task = _current_task()
        self._thread = threading.get_ident()
        self._task = None if task is None else weakref.ref(task)
        self._marks = [mark for mark in self._marks if mark.is_open]
        for mark in self._marks:
            mark.adopt()
        if self._marks:
            _mark.set(self._marks[-1])

    def add(self, mark: Mark) -> None:
        """Keep a mark for the cells to come, if it is a cell's, and not that of what one has started."""
        task = None if self._task is None else self._task()
        if self._thread == threading.get_ident() and task is _current_task():
            mark.stays = True
            self._marks.append(mark)

    def remove(self, mark: Mark) -> None:
        """The transaction has ended."""
        if mark in self._marks:
            self._marks.remove(mark)


_cells = _Cells()
follow_cells = _cells.follow
