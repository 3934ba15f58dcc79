"""Each implementation has every member of its face (``gridflow/faces.py``), and takes what the face takes.

mypy checks the same of the types: it reads ``_types`` below.
"""

from __future__ import annotations

import inspect

import pytest

from gridflow import faces
from gridflow.catalog.activity import Activity
from gridflow.client.grid import ServedGrid
from gridflow.client.open_grid import ServedOpenGrid
from gridflow.client.remote_grid import RemoteGrid, RemoteOpenGrid
from gridflow.client.remote_table import RemoteTable
from gridflow.client.remote_transaction import RemoteTransaction, RemoteTransactionTable
from gridflow.client.table import ServedTable
from gridflow.grid import Grid
from gridflow.open_grid import OpenGrid
from gridflow.server.flight import FlightService
from gridflow.server.framed import FramedService
from gridflow.server.node import Service
from gridflow.server.rings import Keeper, RingService
from gridflow.session import Session
from gridflow.sql.views.views import NoIndexes, SystemView
from gridflow.storage.index_definition import Index
from gridflow.storage.index_rows import IndexRows
from gridflow.storage.table_indexes import TableIndexes
from gridflow.table import Table
from gridflow.transaction import Transaction, TransactionTable

IMPLEMENTATIONS = [
    (faces.OpenGridFace, OpenGrid),
    (faces.OpenGridFace, ServedOpenGrid),
    (faces.OpenGridFace, RemoteOpenGrid),
    (faces.HandleFace, Grid),
    (faces.HandleFace, ServedGrid),
    (faces.HandleFace, RemoteGrid),
    (faces.SessionFace, Session),
    (faces.TransactionFace, Transaction),
    (faces.TransactionFace, RemoteTransaction),
    (faces.StoredTableFace, Table),
    (faces.StoredTableFace, ServedTable),
    (faces.StoredTableFace, RemoteTable),
    (faces.TableFace, TransactionTable),
    (faces.ChangedTableFace, RemoteTransactionTable),
    (faces.ReadableTable, SystemView),
    (faces.IndexSet, NoIndexes),
    (faces.IndexesFace, TableIndexes),
    (faces.IndexFace, Index),
    (faces.IndexedRows, IndexRows),
    (faces.ActivityFace, Activity),
    (Service, FlightService),
    (Service, RingService),
    (Service, FramedService),
    (Keeper, RingService),
]


def _types(
    open_grid: OpenGrid,
    served_open_grid: ServedOpenGrid,
    remote_open_grid: RemoteOpenGrid,
    grid: Grid,
    served_grid: ServedGrid,
    remote_grid: RemoteGrid,
    session: Session,
    transaction: Transaction,
    table: Table,
    served_table: ServedTable,
    remote_table: RemoteTable,
    transaction_table: TransactionTable,
    view: SystemView,
    indexes: TableIndexes,
    rows: IndexRows,
    activity: Activity,
    flight: FlightService,
    rings: RingService,
    framed: FramedService,
) -> None:
    open_grids: list[faces.OpenGridFace] = [open_grid, served_open_grid, remote_open_grid]
    handles: list[faces.HandleFace] = [grid, served_grid, remote_grid]
    sessions: list[faces.SessionFace] = [session]
    grids: list[faces.GridFace] = [*open_grids, transaction]
    transactions: list[faces.TransactionFace] = [transaction]
    stored_tables: list[faces.StoredTableFace] = [table, served_table, remote_table]
    tables: list[faces.TableFace] = [*stored_tables, transaction_table]
    readable: list[faces.ReadableTable] = [*tables, view]
    others: tuple[faces.IndexesFace, faces.IndexedRows, faces.ActivityFace, Service] = (indexes, rows, activity, flight)
    doors: tuple[Service, Keeper, Service] = (rings, rings, framed)
    del handles, sessions, grids, transactions, readable, others, doors


def members(face: type) -> dict[str, object]:
    """What a Protocol declares, with what it inherits, but for what every class has."""
    declared: dict[str, object] = {}
    for base in reversed(face.__mro__):
        if getattr(base, "_is_protocol", False):
            declared |= {name: value for name, value in vars(base).items() if callable(value) or _is_property(value)}
    return {name: value for name, value in declared.items() if name not in ("__init__", "__subclasshook__")}


def _is_property(value: object) -> bool:
    return isinstance(value, property)


def has(implementation: type, name: str) -> bool:
    """Whether instances have it: as a class attribute, a slot, or because the constructor or a dataclass sets it."""
    if hasattr(implementation, name) or name in getattr(implementation, "__dataclass_fields__", ()):
        return True
    sources = [
        inspect.getsource(base)
        for base in implementation.__mro__
        if base.__module__.startswith("gridflow") and "_native" not in base.__module__
    ]
    return any(f"self.{name} = " in source or f"self.{name}: " in source for source in sources)


def takes(parameters: dict[str, inspect.Parameter], wanted: inspect.Parameter) -> bool:
    """Whether a function can be given an argument as the face has it."""
    ours = parameters.get(wanted.name)
    if ours is None:
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if wanted.kind in positional and ours.kind not in positional:
        return False
    if wanted.kind is inspect.Parameter.KEYWORD_ONLY and ours.kind is inspect.Parameter.POSITIONAL_ONLY:
        return False
    return wanted.default is inspect.Parameter.empty or ours.default is not inspect.Parameter.empty


@pytest.mark.parametrize("face, implementation", IMPLEMENTATIONS, ids=lambda c: c.__name__)
def test_an_implementation_has_the_members_of_its_face(face: type, implementation: type) -> None:
    missing = [name for name in members(face) if not has(implementation, name)]
    assert not missing


@pytest.mark.parametrize("face, implementation", IMPLEMENTATIONS, ids=lambda c: c.__name__)
def test_its_methods_take_what_the_face_says(face: type, implementation: type) -> None:
    wrong = []
    for name, declared in members(face).items():
        method = inspect.getattr_static(implementation, name, None)
        if _is_property(declared) or name.startswith("__"):  # Python itself calls the latter, with positions
            if _is_property(declared) and inspect.isfunction(method):
                wrong.append(f"{name} is a method, the face has an attribute")
            continue
        try:
            ours = inspect.signature(getattr(implementation, name))
        except (TypeError, ValueError) as error:
            wrong.append(f"{name}: {error}")
            continue
        wanted = inspect.signature(declared)  # type: ignore[arg-type]
        parameters = dict(ours.parameters)
        wrong += [f"{name}{ours} does not take {p}" for p in wanted.parameters.values() if not takes(parameters, p)]
        wrong += [
            f"{name}{ours} asks for {p}, which the face does not have"
            for p in parameters.values()
            if p.name not in wanted.parameters
            and p.default is p.empty
            and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        order = [p for p in parameters if p in wanted.parameters]
        if order != [p for p in wanted.parameters if p in parameters]:
            wrong.append(f"{name}{ours} has the arguments of {wanted} in another order")
    assert not wrong, "\n".join(wrong)


def test_the_test_sees_what_is_missing() -> None:
    class Half:
        def all(self, wanted: int) -> None: ...

    assert [name for name in members(faces.IndexesFace) if not has(Half, name)] == ["changing", "make", "remove_stale"]
    with pytest.raises(AssertionError, match="asks for wanted"):
        test_its_methods_take_what_the_face_says(faces.IndexSet, Half)
