"""The command ``gridflow``: one file for each subcommand, loaded when it is called.

The package imports nothing slow but gridflow itself, so that ``gridflow --help`` answers at once.
"""

from .main import main

__all__ = ["main"]
