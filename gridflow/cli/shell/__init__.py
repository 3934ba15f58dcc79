"""The SQL shell: ``session`` runs text, ``repl`` reads it from a terminal.

repl        reads lines: history, highlighting, keys        -> session
session     settings, the grid, statements and commands     -> commands, rendering
commands    !tables, \\d and the like, one function each
completion  what may stand at the cursor
rendering   rows as table, vertical, csv, json or markdown
cells       one value as text
"""
