"""The words of the language, for completion and colours."""

from __future__ import annotations

from functools import lru_cache

from ...schema import ALIASES, SCALARS
from ...sql.engine import connection
from ...sql.functions import FUNCTIONS as _OURS

KEYWORDS = (
    "ADD ALL ALTER ANALYZE AND ANY AS ASC ASYNC BEGIN BETWEEN BY CASE CAST COLUMN COMMIT COPY CREATE CROSS "
    "CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DEFAULT DELETE DESC DESCRIBE DISTINCT DROP ELSE END ESCAPE EXCEPT "
    "EXCLUDE EXISTS EXPLAIN FALSE FETCH FILTER FIRST FOLLOWING FORMAT FROM FULL GROUP GROUPING HAVING IF ILIKE IN "
    "INDEX INNER INSERT INTERSECT INTERVAL INTO IS JOIN KEY KILL LAST LATERAL LEFT LIKE LIMIT MATCHED MERGE MINUS "
    "NATURAL NEXT NOT NULL NULLS OFFSET ON ONLY OR ORDER OUTER OVER PARTITION PASSWORD PLAN PRECEDING PRIMARY QUALIFY "
    "QUERY RANGE RECURSIVE REFRESH RENAME RIGHT ROLLBACK ROW ROWS SELECT SET SHOW START STATISTICS STREAMING "
    "SUMMARIZE TABLE TABLES THEN TO TOP TRANSACTION TRUE TRUNCATE UNBOUNDED UNION UNIQUE UPDATE USER USING VALUES "
    "WHEN WHERE WINDOW WITH"
).split()
TYPES = frozenset({*SCALARS, *ALIASES, "LIST", "MAP", "STRUCT", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"})
#: The functions that most people look for: these are coloured, and come first.
FUNCTIONS = frozenset(
    {*_OURS}
    | set(
        "ABS AVG CEIL CEILING COALESCE CONCAT CONCAT_WS COUNT DATE_TRUNC DENSE_RANK EXP EXTRACT FIRST_VALUE FLOOR "
        "GREATEST GROUP_CONCAT IFNULL LAG LAST_VALUE LEAD LEAST LEFT LEN LENGTH LIST LN LOG LOG10 LOWER LTRIM MAX "
        "MEDIAN MIN MOD NTILE NULLIF NVL POWER QUANTILE_CONT RANDOM RANK REGEXP_REPLACE REPLACE REVERSE RIGHT ROUND "
        "ROW_NUMBER RTRIM SIGN SQRT STDDEV STRING_AGG SUBSTR SUBSTRING SUM TRIM UNNEST UPPER VARIANCE".split()
    )
)
# The engine's own, for its own use, for collations and for other systems' tools.
_HIDDEN = ("collate_", "icu_", "st_", "pg_", "json_deserialize", "json_serialize", "create_sort_key", "txid_")


@lru_cache(maxsize=1)
def all_functions() -> tuple[str, ...]:
    """Every function that a query can call, in upper case, sorted."""
    found = connection().execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'macro') AND function_name ~ '^[a-z][a-z_0-9]+$'"
    )
    names = {name.upper() for (name,) in found.fetchall() if not name.startswith(_HIDDEN)}
    return tuple(sorted(names | FUNCTIONS))
