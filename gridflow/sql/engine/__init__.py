"""DuckDB, and the way of columns to DuckDB and back: the only room of ``sql`` that imports DuckDB."""
