"""Certificates for a lab: an authority of its own, and what it vouches for. Keys are of the curve P-256."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

#: Names of files, without the kind: ``<name>.crt`` and ``<name>.key``.
AUTHORITY = "ca"
#: Days that an authority's certificate is good for, and those of what it vouches for, unless it is said.
AUTHORITY_DAYS, DAYS = 3650, 365
#: A certificate may be a little younger than the clock of who looks at it.
_CLOCKS = dt.timedelta(minutes=5)


def make_authority(folder: Path, name: str = "Gridflow lab", days: int = AUTHORITY_DAYS) -> list[Path]:
    """Make ``ca.crt``, which clients are given, and ``ca.key``, which makes other certificates: keep it away.

    Raises:
        UsageError: there is one.
    """
    x509, ec = _library()
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(name, days)
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return _write(folder, AUTHORITY, builder, key, key)


def make_server(folder: Path, names: Iterable[str], days: int = DAYS) -> list[Path]:
    """Make ``server.crt`` and ``server.key`` of a node that is called by these names or addresses.

    Raises:
        UsageError: there is one, or no authority, or no name.
    """
    x509, ec = _library()
    own = list(names)
    if not own:
        raise UsageError("a server's certificate has the names that clients call it by: give one at least")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(own[0], days)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in own]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return _write_signed(folder, "server", builder, key)


def make_client(folder: Path, user: str, days: int = DAYS) -> list[Path]:
    """Make ``<user>.crt`` and ``<user>.key``, with which a client is that user of the grid.

    Raises:
        UsageError: there is one, or no authority, or the name is none of a file.
    """
    x509, ec = _library()
    if not user or "/" in user or "\0" in user or user.startswith(".") or len(user.encode()) > 60:
        raise UsageError(f"{user!r} cannot be the name of a user and of a file")
    if user in (AUTHORITY, "server"):
        raise UsageError(f"the files of {user!r} are those of another certificate here: use another --dir")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(user, days).add_extension(
        x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
    )
    return _write_signed(folder, user, builder, key)


def _write_signed(
    folder: Path, name: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey
) -> list[Path]:
    """Complete a certificate that the folder's authority vouches for, and write it."""
    x509, _ = _library()
    from cryptography.hazmat.primitives import serialization

    try:
        authority = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.crt").read_bytes())
        authority_key = serialization.load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), None)
    except FileNotFoundError:
        raise UsageError(f"there is no authority in {folder}: 'gridflow cert ca --dir {folder}' makes one") from None
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"the authority in {folder} cannot be read: {error}") from None
    builder = (
        builder.issuer_name(authority.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    return _write(folder, name, builder, key, authority_key)  # type: ignore[arg-type]


def _write(
    folder: Path,
    name: str,
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
) -> list[Path]:
    x509, _ = _library()
    from cryptography.hazmat.primitives import hashes, serialization

    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = builder.add_extension(identifier, critical=False).sign(signing, hashes.SHA256())
    texts = {
        f"{name}.key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        f"{name}.crt": certificate.public_bytes(serialization.Encoding.PEM),
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = [str(folder / file) for file in texts if os.path.lexists(folder / file)]
    if there:
        raise UsageError(f"there is {there[0]} already: remove it, or name another --dir")
    for file, text in texts.items():
        mode = 0o600 if file.endswith(".key") else 0o644
        with open(os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(text)
    return [folder / file for file in reversed(texts)]


def _builder(name: str, days: int) -> x509.CertificateBuilder:
    x509, _ = _library()
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(name: str) -> x509.Name:
    x509, _ = _library()
    try:
        return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise UsageError(f"{name!r} is no name for a certificate: {error}") from None


def _alternative(name: str) -> x509.GeneralName:
    x509, _ = _library()
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except ValueError as error:
        raise UsageError(f"{name!r} is no name of a machine: {error}") from None


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    x509, _ = _library()
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False),
        encipher_only=False,
        decipher_only=False,
    )


def _library():  # type: ignore[no-untyped-def]
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UsageError("certificates are made with a package: pip install 'gridflow[tls]'") from None
    return x509, ec
