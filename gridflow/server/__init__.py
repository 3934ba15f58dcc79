"""A node: one process that owns a grid and serves it. ``gridflow serve`` runs one."""

from .node import Node
from .process import ServerProcess

__all__ = ["Node", "ServerProcess"]
