"""Compiled modules over kernels/core: private, each with a .pyi beside it."""
