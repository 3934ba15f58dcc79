"""The engine's exceptions, by names of ours."""

from __future__ import annotations

import duckdb

EngineError = duckdb.Error
#: A query that ``connection.interrupt`` has ended.
Interrupted = duckdb.InterruptException
#: A value does not fit a type; other errors are about the statement.
MISFITS = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException)
