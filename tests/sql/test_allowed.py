"""Table functions of the engine: a client names those that make rows of their arguments, and no other."""

from __future__ import annotations

import duckdb
import pytest

import gridflow
from gridflow.sql.binding.allowed import check_table_functions
from gridflow.sql.grammar.statements import prepare

ALLOWED = """
    T; DUAL; (SELECT 1); (VALUES (1)) V; GENERATE_SERIES(1, 3); RANGE(3); UNNEST([1, 2]); SYSTEM_RANGE(1, 3);
    T, UNNEST([1]); T CROSS JOIN RANGE(2); T, LATERAL (SELECT 1)
""".split(";")
# Where a table may stand, and a function with it.
PLACES = [
    "SELECT * FROM {}",
    "SELECT * FROM T, {}",
    "SELECT * FROM T JOIN {} ON TRUE",
    "SELECT * FROM (SELECT * FROM {}) Q",
    "SELECT (SELECT COUNT(*) FROM {})",
    "SELECT * FROM T WHERE ID IN (SELECT 1 FROM {})",
    "WITH W AS (SELECT * FROM {}) SELECT * FROM W",
    "SELECT 1 UNION ALL SELECT 2 FROM {}",
    "FROM {}",
    "SELECT * FROM T, LATERAL (SELECT * FROM {}) L",
    "INSERT INTO T SELECT * FROM {}",
    "DELETE FROM T WHERE ID IN (SELECT 1 FROM {})",
    "CREATE TABLE U PRIMARY KEY (ID) AS SELECT * FROM {}",
    "EXPLAIN SELECT * FROM {}",
]


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
        yield grid


@pytest.mark.parametrize("source", [source.strip() for source in ALLOWED])
def test_rows_made_of_arguments_are_allowed(source):
    (statement,) = prepare(f"SELECT * FROM {source}")
    check_table_functions(statement.node)


def table_functions() -> list[str]:
    """Every table function that the engine has."""
    names = duckdb.sql("SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type LIKE 'table%'")
    return sorted(name.upper() for (name,) in names.fetchall() if name.replace("_", "").isalnum())


def test_every_other_table_function_of_the_engine_is_refused(grid):
    allowed = {"GENERATE_SERIES", "RANGE", "UNNEST"}
    functions = table_functions()
    assert {"READ_CSV", "QUERY", "QUERY_TABLE", "DUCKDB_SETTINGS", "GLOB", "READ_TEXT", "ARROW_SCAN"} <= {*functions}
    for function in functions:
        if function not in allowed:
            for arguments in ("", "'a'", "1, 2, 3"):
                with pytest.raises(gridflow.GridflowError) as raised:
                    grid.sql(f"SELECT * FROM {function}({arguments})")
                assert not isinstance(raised.value, gridflow.InternalError), function


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("function", ["QUERY('SELECT 1 AS ID')", "READ_TEXT('/etc/hostname')", "GLOB('/*')"])
def test_wherever_it_stands(grid, place, function):
    with pytest.raises(gridflow.SqlError, match="no table function|cannot read"):
        grid.sql(place.format(function))
    assert grid.tables() == ["T"] and len(grid.table("T")) == 0
