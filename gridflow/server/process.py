"""A node in a process of its own: for programs, examples and tests that need a grid to be served."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from ..errors import GridConnectionError

#: What ``gridflow serve`` prints once it accepts requests.
READY = "ready"


class ServerProcess:
    """``gridflow serve`` as a child of this process; a context manager that stops it.

    Args:
        home: the grid's directory.
        arguments: more of the command line, for example ``"--partitions", "64"``.

    Attributes:
        printed: the lines that it printed before it was ready.

    Raises:
        GridConnectionError: it ended before it served; with what it printed.

    >>> import gridflow, tempfile
    >>> with tempfile.TemporaryDirectory() as home, ServerProcess(home) as server:
    ...     with gridflow.connect(home) as grid:
    ...         grid.owner, grid.owner_pid == server.pid
    (False, True)
    """

    def __init__(self, home: str | os.PathLike[str], *arguments: str):
        self.home = Path(home)
        command = [sys.executable, "-m", "gridflow", "serve", "--home", str(home), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.printed: list[str] = []
        for line in self._process.stdout:
            self.printed.append(line.rstrip("\n"))
            if line.startswith(READY):
                return
        self._process.wait()
        raise GridConnectionError(f"gridflow serve did not start: {' '.join(self.printed)}")

    def stop(self, timeout: float = 60.0) -> int:
        """Ask it to stop, and wait. Returns its exit code. May be called again."""
        if self._process.poll() is None:
            self._process.terminate()
        with contextlib.suppress(ValueError):  # closed by an earlier call
            self._process.communicate(timeout=timeout)
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
