"""Bytes to messages and back: no sockets, no grid, nothing that a client sends can run code."""
