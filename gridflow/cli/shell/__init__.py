"""The SQL shell: ``session`` runs text, ``repl`` reads it from a terminal.

repl          reads lines: history, keys                                -> session
completion    completions at the cursor; words, highlighting
session       the grid, statements and commands one after the other     -> worker, commands, output
worker        the thread of the statements, and their end by Ctrl-C
scripts       a text cut into statements and commands
registry      declarations and calls of commands
commands      !set, !run, \\x and the like; describing: !tables, \\d; showing: !show
settings      the settings of !set
output        the terminal, a pager, files                              -> rendering
rendering     rows as csv, json, ...; layout: table and vertical
cells         one value as text; pictures: a tensor as an image
"""
