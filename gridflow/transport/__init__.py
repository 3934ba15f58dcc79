"""Sealed files on their way: from a node, a URL or a directory, to a mirror, a copy or a URL."""
