"""What may stand in FROM: the border between SQL that a client sends and what the engine could do besides."""

from __future__ import annotations

from sqlglot import exp

from ...errors import SqlError

# What may stand in FROM: tables, queries, values, and functions that make rows of their arguments.
_ROWS = (exp.Table, exp.Query, exp.Values, exp.Unnest, exp.Explode, exp.GenerateSeries, exp.Lateral)


def check_table_functions(tree: exp.Expression) -> None:
    """Let through only the table functions that make rows of their arguments.

    DuckDB has others that take SQL as text, or even addresses in memory: no client may reach those.
    """
    for node in tree.find_all(exp.Table, exp.From, exp.Join, exp.Lateral, exp.Command):
        item = node if isinstance(node, exp.Command) else node.this
        if isinstance(item, _ROWS) or (isinstance(node, exp.Table) and isinstance(item, exp.Identifier)):
            continue
        name = item.name if isinstance(item, exp.Anonymous) else item.key if item else ""
        raise SqlError(f"no table function {name.upper()}; there are GENERATE_SERIES, RANGE, UNNEST")
