"""``python -m gridflow``: the command line."""

from .cli import main

main(prog_name="gridflow")
