"""Where a node listens on its own machine: the Unix socket in the grid's directory."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from ..config import SOCKET_NAME

#: sun_path has 108 bytes with its NUL on Linux, and 104 on other systems.
_MAX_PATH_BYTES = 103
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/+,=@-]+\Z")


class SocketAddress:
    """The location of a grid's socket as Flight wants it.

    The kernel limits a socket's path to about 100 bytes, and Flight takes it as a URI. For a grid whose path
    is longer, or has characters that a URI has not, the socket is reached through a symbolic link to the grid
    in a private temporary directory; ``close`` removes it. The socket itself always lies in the grid.

    Args:
        home: the grid's directory.
    """

    def __init__(self, home: Path):
        self.path = home / SOCKET_NAME
        self._folder: str | None = None
        self._pid = os.getpid()  # a forked child must not take the link away from its parent
        short = str(self.path)
        if len(os.fsencode(short)) > _MAX_PATH_BYTES or not _PLAIN_PATH.match(short):
            self._folder = tempfile.mkdtemp(prefix="gridflow-")
            link = os.path.join(self._folder, "g")
            os.symlink(home, link, target_is_directory=True)
            short = os.path.join(link, SOCKET_NAME)
        self.short_path = short
        self.uri = f"grpc+unix://{short}"

    def close(self) -> None:
        """Remove the link, if there is one. May be called again."""
        folder, self._folder = self._folder, None
        if folder and self._pid == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)
