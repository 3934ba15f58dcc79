"""How the rows of a table are reached: by key, by an index, or all of them."""
