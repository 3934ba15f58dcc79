"""Schema SYS: what a grid is and does, as tables."""
