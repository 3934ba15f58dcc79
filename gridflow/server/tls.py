"""The certificate and key of a node's encrypted doors, as their files have them, and again when those change.

What is half written, or does not belong together, is not taken: the pair before it stays, and the log says why.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..protocols.pem import decrypted, is_encrypted

_log = logging.getLogger("gridflow.server")

#: Has the password of an encrypted key, if no file does.
PASSWORD_VARIABLE = "GRIDFLOW_TLS_KEY_PASSWORD"
#: Seconds between two looks at the files.
LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class TlsFiles:
    """Where the certificate and its key are, in PEM.

    Attributes:
        certificate: the node's, then those between it and its authority.
        key: the certificate's.
        password_file: its first line decrypts the key; None: ``$GRIDFLOW_TLS_KEY_PASSWORD`` does.
        client_ca: the authority of clients: each shows a certificate of it, whose name is its user's.
    """

    certificate: Path
    key: Path
    password_file: Path | None = None
    client_ca: Path | None = None

    @property
    def all(self) -> list[Path]:
        """Those that there are."""
        return [path for path in (self.certificate, self.key, self.password_file, self.client_ca) if path is not None]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, not encrypted, which belong together; and the authority of clients."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The pair that a node shows. Any thread may ask.

    Args:
        files: where it is.

    Raises:
        UsageError: it is not there, or no pair.
    """

    def __init__(self, files: TlsFiles):
        self._files = files
        self._lock = threading.Lock()  # guards what follows
        self._seen = self._state()
        self.pair, self.context = _read(files)

    def look(self, *, always: bool = False) -> bool:
        """Whether there is another pair since the last look.

        Args:
            always: read the files also where they seem to be the same.
        """
        with self._lock:
            seen = self._state()
            if seen == self._seen and not always:
                return False
            self._seen = seen
            try:
                pair, context = _read(self._files)
            except UsageError as error:
                _log.warning("the certificate stays as it was: %s", error)
                return False
            if pair == self.pair:
                return False
            self.pair, self.context = pair, context
            _log.warning("%s: a new certificate is shown from now on", self._files.certificate)
            return True

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(path) for path in self._files.all]


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(files: TlsFiles) -> tuple[Pair, ssl.SSLContext]:
    """The pair in the files, and what accepts connections with it."""
    certificate, key = _bytes_of(files.certificate), _bytes_of(files.key)
    client_ca = None if files.client_ca is None else _bytes_of(files.client_ca)
    password = _password_of(files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password OpenSSL would ask for it at the terminal.
        context.load_cert_chain(files.certificate, files.key, password=password or "")
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or error.strerror or str(error)
        hint = "" if password or not is_encrypted(key) else "; it is encrypted: say --tls-key-password-file"
        raise UsageError(f"{files.certificate} and {files.key} are no certificate and its key: {why}{hint}") from None
    if client_ca is not None:
        try:
            context.load_verify_locations(cadata=client_ca.decode())
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(f"{files.client_ca} holds no certificates: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    if (certificate, key) != (_bytes_of(files.certificate), _bytes_of(files.key)):
        raise UsageError(f"{files.certificate} and {files.key} are just being written")
    if is_encrypted(key):
        key = decrypted(files.key, key, password)
    return Pair(certificate, key, client_ca), context


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _password_of(files: TlsFiles) -> str:
    if files.password_file is None:
        return os.environ.get(PASSWORD_VARIABLE, "")
    try:
        text = _bytes_of(files.password_file).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{files.password_file} holds no text") from None
    return text.splitlines()[0] if text else ""
