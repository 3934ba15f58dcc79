"""The SQL shell: ``session`` runs text, ``repl`` reads it from a terminal.

repl          reads lines: history, keys                                -> session
completion    what may stand at the cursor; words, highlighting
session       the grid, statements and commands one after the other     -> worker, commands, output
worker        the thread a statement runs in, and how Ctrl-C ends it
scripts       a text cut into statements and commands
registry      how commands are declared and called
commands      !set, !run, \\x and the like; describing: !tables, \\d; showing: !show
settings      what !set sets
output        the terminal, a pager, files                              -> rendering
rendering     rows as csv, json, ...; layout: table and vertical
cells         one value as text; pictures: a tensor as an image
"""
