"""``python -m gridflow.cli`` is the command ``gridflow``."""

from . import main

main()
