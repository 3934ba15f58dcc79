"""What a name in a statement can see: the FROM items of its SELECT and of those around it, and queries of a WITH."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sqlglot import exp

from ...schema import Schema


def from_items(select: exp.Select) -> Iterator[exp.Expression]:
    """The FROM items of a SELECT: tables and queries, and those that are joined to them."""
    from_ = select.args.get("from_")
    if from_ is not None:
        yield from_.this
        yield from (join.this for join in from_.this.args.get("joins") or [])
    yield from (join.this for join in select.args.get("joins") or [])


def is_wide(node: exp.Expr) -> bool:
    """Whether an item of a SELECT's list may stand for several columns: ``*``, ``t.*``, ``COLUMNS(...)``."""
    if isinstance(node, exp.Column):
        node = node.this
    elif isinstance(node, exp.Dot):
        node = node.expression
    return isinstance(node, (exp.Star, exp.Columns))


def gives_all(query: exp.Expr) -> bool:
    """Whether a query's columns are those of its tables, so that the query alone does not say how many there are."""
    queries = [query]
    while queries:
        node = queries.pop()
        if isinstance(node, exp.SetOperation):
            queries += (node.this, node.expression)
        elif isinstance(node, exp.Subquery):
            queries.append(node.this)
        elif not isinstance(node, exp.Select) or any(is_wide(item) for item in node.expressions):
            return True
    return False


def is_in_sight(column: exp.Column, schemas: Mapping[str, Schema]) -> bool:
    """Whether a table that a column can see has a column of its name, or a query in FROM of unknown columns may.

    Args:
        column: the column's node in the statement.
        schemas: of the tables, by ``BoundTable.registered``.
    """
    name, label = column.name.upper(), column.table.upper()
    select = column.find_ancestor(exp.Select)
    while select is not None:
        for item in from_items(select):
            if label and item.alias_or_name.upper() != label:
                continue
            schema = schemas.get(item.name) if isinstance(item, exp.Table) else None
            if schema is not None:
                names = schema.names
            elif isinstance(item, exp.Subquery) and not gives_all(item):
                names = item.named_selects
            else:
                return True
            if name in (other.upper() for other in names):
                return True
        select = select.find_ancestor(exp.Select)
    return False


def is_cte(node: exp.Table) -> bool:
    """Whether a table's name is that of a query of a WITH that the name can see."""
    if node.db:
        return False
    child: exp.Expr = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            # A query of a WITH sees those before it only, or all of a recursive one.
            before = parent.expressions
            if not parent.args.get("recursive"):
                before = before[: next(i for i, cte in enumerate(before) if cte is child)]
            if any(cte.alias == node.name for cte in before):
                return True
            child, parent = parent, parent.parent  # the WITH of the query around is this one
            if parent is None:
                break
        elif any(cte.alias == node.name for cte in _ctes(parent)):
            return True
        child, parent = parent, parent.parent
    return False


def _ctes(node: exp.Expr) -> Iterable[exp.Expression]:
    with_ = node.args.get("with_")
    return with_.expressions if isinstance(with_, exp.With) else ()
