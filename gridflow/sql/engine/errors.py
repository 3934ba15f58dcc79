"""What the engine raises, by names of ours."""

from __future__ import annotations

import duckdb

EngineError = duckdb.Error
#: A query that ``connection.interrupt`` has ended.
Interrupted = duckdb.InterruptException
#: A value does not fit a type, as against a statement that makes no sense.
MISFITS = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException)
