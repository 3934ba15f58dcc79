"""Which tables a grid has, and their names: above the store, below everything that speaks of tables by name."""

from .catalog import Catalog, TableEntry

__all__ = ["Catalog", "TableEntry"]
