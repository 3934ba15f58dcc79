"""Grid and Table for a process that does not own the grid: reads are mapped, writes are sent."""

from .grid import ServedGrid, connect_unix

__all__ = ["ServedGrid", "connect_unix"]
