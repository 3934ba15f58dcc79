"""One copy of a table in a GPU's memory for several processes of a user.

The process that has it listens on a Unix socket. Whoever connects is told, in one line of JSON, what there is, and then
sent the descriptors of the memory, which live on without the process that made them.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DeviceError, GridConnectionError, UsageError, VersionNotFoundError, os_failure
from .devices import CPU, describe, device_name, devices, number_of
from .table import DeviceTable, Rows, _Place

_FORMAT = 1  # of what is said
_DESCRIPTORS_OF_MESSAGE = 200  # the kernel takes 253 in a message
_MOST_BYTES = 60_000
_SECONDS = 20.0  # for the other side to say or take something


class Shared:
    """A table that is offered under a path, until this is closed; made by ``DeviceTable.share``. A context manager."""

    def __init__(self, table: DeviceTable, rows: Rows, path: str | os.PathLike[str]):
        self.path = Path(path).absolute()
        descriptors = rows.share()
        hello = {
            "gridflow": _FORMAT,
            "grid": table._place.directory,
            "table": table.name,
            "table_id": rows.table_id,
            "version": rows.version,
            "columns": list(rows.columns),
            "device": _uuid(rows.device),
            "descriptors": len(descriptors),
        }
        try:
            listener = _listen(self.path)
        except BaseException:
            _close_all(descriptors)
            raise
        self._end = weakref.finalize(
            self, _stop, listener, self.path, os.stat(self.path).st_ino, descriptors, os.getpid()
        )
        greeting = (json.dumps(hello) + "\n").encode()
        threading.Thread(
            target=_serve, args=(listener, greeting, descriptors), name=f"gridflow-share-{table.name}", daemon=True
        ).start()

    def __repr__(self) -> str:
        return f"<gridflow.cuda.Shared {self.path}{'' if self._end.alive else ' (closed)'}>"

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Offer it no longer, and unlink the socket. Who has the memory keeps it. May be called again."""
        self._end()


def open_shared(path: str | os.PathLike[str], *, device: int | str | None = None) -> DeviceTable:
    """A table whose rows another process of this user has brought to the GPU, without a second copy.

    Args:
        path: what the other process gave to ``DeviceTable.share``.
        device: the GPU that it must be on; without it the one where it is.

    Raises:
        GridConnectionError: nobody shares a table there.
        DeviceError: it is on another GPU.
        VersionNotFoundError: the version that is shared is not kept any more in the grid: give it a tag.
        UsageError: what is said there is not understood.
    """
    path = Path(path).absolute()
    hello, descriptors = _ask(path)
    try:
        number = _device_of(hello["device"], device, path)
        place = _Place(hello["grid"], hello["table"], None)
        try:
            return DeviceTable._adopting(
                place, hello["table_id"], hello["version"], number, hello["columns"], descriptors
            )
        except VersionNotFoundError as error:
            raise VersionNotFoundError(
                f"{path} shares version {hello['version']} of table {place.name}, which the grid keeps no longer "
                f"({error}): share a version that has a tag, or refresh() and share again"
            ) from None
    finally:
        _close_all(descriptors)


def _uuid(device: int) -> str:
    return "cpu" if device == CPU else describe(device).uuid


def _device_of(uuid: str, device: int | str | None, path: Path) -> int:
    """The number here of the GPU with this UUID."""
    here = {"cpu": CPU} if uuid == "cpu" else {gpu.uuid: gpu.number for gpu in devices()}
    if uuid not in here:
        others = ", ".join(f"{device_name(number)} {other}" for other, number in here.items()) or "none"
        raise DeviceError(
            f"{path} shares memory of GPU {uuid}, which this process does not see; it sees {others}", "NO_DEVICE"
        )
    if device is not None and number_of(device) != here[uuid]:
        raise DeviceError(
            f"{path} shares memory of {device_name(here[uuid])}, not of {device_name(number_of(device))}", "NO_DEVICE"
        )
    return here[uuid]


def _listen(path: Path) -> socket.socket:
    """A socket for this user alone, where none is that anybody listens on."""
    if _is_served(path):
        raise UsageError(f"{path}: a table is shared there already")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # Bound in a private folder: so nobody else can connect before its mode is set, and a long path will do.
        with tempfile.TemporaryDirectory(prefix="gridflow-", dir=path.parent) as folder:
            socket_path = os.path.join(folder, "s")
            with _short(folder) as short:
                listener.bind(os.path.join(short, "s"))
            os.chmod(socket_path, 0o600)
            listener.listen()
            os.replace(socket_path, path)
    except OSError as error:
        listener.close()
        raise os_failure(error, f"cannot make the socket {path}") from None
    return listener


def _is_served(path: Path) -> bool:
    if not path.exists():
        return False
    if not path.is_socket():
        raise UsageError(f"{path} is there already, and no socket")
    try:
        with _connected(path):
            return True
    except OSError:
        return False


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, _short(path) as short:
        connection.settimeout(_SECONDS)
        connection.connect(short)
        yield connection


@contextmanager
def _short(path: str | Path) -> Iterator[str]:
    """A name for a path that fits into the 107 bytes that the kernel takes: that of a link, if need be."""
    if len(os.fsencode(path)) <= 100:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="gridflow-") as folder:
        link = os.path.join(folder, "link")
        os.symlink(path, link)
        yield link


def _serve(listener: socket.socket, greeting: bytes, descriptors: list[int]) -> None:
    """Tell everybody who connects; ends when the socket is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                connection.settimeout(_SECONDS)
                connection.sendall(greeting)
                for first in range(0, len(descriptors), _DESCRIPTORS_OF_MESSAGE):
                    socket.send_fds(connection, [b"+"], descriptors[first : first + _DESCRIPTORS_OF_MESSAGE])
            except OSError:
                pass  # it went away; the next one may stay


def _ask(path: Path) -> tuple[dict[str, Any], list[int]]:
    """What is shared, and the descriptors, which are the caller's to close."""
    descriptors: list[int] = []
    try:
        with _connected(path) as connection:
            hello = _parsed(connection.recv(_MOST_BYTES), path)
            while len(descriptors) < hello["descriptors"]:
                mark, some, _, _ = socket.recv_fds(connection, 16, _DESCRIPTORS_OF_MESSAGE)
                descriptors += some
                if not mark:
                    raise ConnectionResetError("it went away")
        return hello, descriptors
    except OSError as error:
        _close_all(descriptors)
        raise GridConnectionError(f"nobody shares a table at {path}: {error.strerror or error}") from None
    except BaseException:
        _close_all(descriptors)
        raise


def _parsed(greeting: bytes, path: Path) -> dict[str, Any]:
    if not greeting:
        raise ConnectionResetError("it went away")
    kinds = {
        "grid": str,
        "table": str,
        "table_id": int,
        "version": int,
        "device": str,
        "descriptors": int,
        "columns": list,
    }
    try:
        hello = json.loads(greeting)
        if hello["gridflow"] == _FORMAT and all(isinstance(hello[name], kind) for name, kind in kinds.items()):
            return hello
    except (ValueError, TypeError, KeyError):
        pass
    raise UsageError(f"{path}: what listens there does not share a table, or does with another version of Gridflow")


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _stop(listener: socket.socket, path: Path, inode: int, descriptors: list[int], pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child: it is its parent's
    try:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for somebody
    except OSError:
        pass
    listener.close()
    try:
        if os.stat(path).st_ino == inode:  # else somebody has put another one there
            path.unlink()
    except OSError:
        pass
    _close_all(descriptors)
