"""DuckDB, and types on their way to it and back: the only rooms that know it, but for its errors."""
