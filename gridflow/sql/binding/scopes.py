"""What a name in a statement can see: the tables of its SELECT and of those around it, and queries of a WITH."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sqlglot import exp

from ...schema import Schema


def parts_of(select: exp.Select) -> Iterator[exp.Expression]:
    """What stands in a SELECT's FROM: tables, queries, and what is joined to them."""
    from_ = select.args.get("from_")
    if from_ is not None:
        yield from_.this
        yield from (join.this for join in from_.this.args.get("joins") or [])
    yield from (join.this for join in select.args.get("joins") or [])


def is_in_sight(column: exp.Column, schemas: Mapping[str, Schema]) -> bool:
    """Whether a table that a column can see has one of its name; a query in FROM whose columns are not told may.

    Args:
        column: as the statement has it.
        schemas: of the tables, by the names that the statement now has for them.
    """
    name, label = column.name.upper(), column.table.upper()
    select = column.find_ancestor(exp.Select)
    while select is not None:
        for part in parts_of(select):
            if label and part.alias_or_name.upper() != label:
                continue
            schema = schemas.get(part.name) if isinstance(part, exp.Table) else None
            if schema is not None:
                names = schema.names
            elif isinstance(part, exp.Subquery) and not part.is_star:
                names = part.named_selects
            else:
                return True
            if name in (other.upper() for other in names):
                return True
        select = select.find_ancestor(exp.Select)
    return False


def is_cte(node: exp.Table) -> bool:
    """Whether a table's name is that of a WITH that it can see."""
    if node.db:
        return False
    child: exp.Expr = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            # Inside a WITH only the ones before are there, or all where it is recursive.
            before = parent.expressions
            if not parent.args.get("recursive"):
                before = before[: next(i for i, cte in enumerate(before) if cte is child)]
            if any(cte.alias == node.name for cte in before):
                return True
            child, parent = parent, parent.parent  # its query's own WITH is this one
            if parent is None:
                break
        elif any(cte.alias == node.name for cte in _ctes(parent)):
            return True
        child, parent = parent, parent.parent
    return False


def _ctes(node: exp.Expr) -> Iterable[exp.Expression]:
    with_ = node.args.get("with_")
    return with_.expressions if isinstance(with_, exp.With) else ()
