"""Grid and Table for a process that does not own the grid.

Of a grid of this machine reads are mapped and writes are sent; of another machine's all is sent.
"""

from .grid import ServedGrid, connect_unix
from .remote_grid import RemoteGrid, connect_remote

__all__ = ["RemoteGrid", "ServedGrid", "connect_remote", "connect_unix"]
