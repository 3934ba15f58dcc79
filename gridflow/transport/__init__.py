"""Sealed files on their way: from a node, a URL or a directory, to a mirror, a copy or a URL."""

from .pieces import Piece, publish_pieces, shares_of, write_segments

__all__ = ["Piece", "publish_pieces", "shares_of", "write_segments"]
