"""The store above its native part: who owns a grid, what comes in and goes out as Arrow, when to flush and merge.

A write goes log -> memory table -> (flush) segment -> manifest; a load goes straight to segments. The bytes and the hot
paths are in ``kernels/core`` and ``gridflow._native``; this folder decides.
"""
