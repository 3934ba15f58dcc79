"""Private keys in PEM, for gRPC, which takes none that is encrypted."""

from __future__ import annotations

import os

from ..errors import UsageError


def is_encrypted(key: bytes) -> bool:
    """Whether a key needs a password.

    >>> is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"), is_encrypted(b"-----BEGIN PRIVATE KEY-----")
    (True, False)
    """
    return b"ENCRYPTED" in key


def decrypted(path: str | os.PathLike[str], key: bytes, password: str) -> bytes:
    """The same key without its password.

    Args:
        path: where it is from, for messages.

    Raises:
        UsageError: that is not its password, or there is nothing here that decrypts it.
    """
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise UsageError(f"{path} is encrypted, which needs a package: pip install 'gridflow[tls]'") from None
    try:
        private = serialization.load_pem_private_key(key, password.encode())
    except (ValueError, TypeError):
        raise UsageError(f"{path} cannot be decrypted") from None
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
