"""Encrypted doors: what they show, whom they take, and what becomes of a certificate that changes."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import signal
import socket
import ssl
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight
import pytest

import gridflow
from gridflow.errors import GridAccessError, UsageError
from gridflow.protocols import flight_sql, local_tokens, messages
from gridflow.protocols.address import Endpoint
from gridflow.server import Node, ServerProcess, lab_certificates, tls
from gridflow.server.tls import Certificates, TlsFiles

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import serialization  # noqa: E402

LOOPBACK = "grid+tls://127.0.0.1:0"
NAMES = ["localhost", "127.0.0.1"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """An authority, a server, the users KATE and bob, and another lab with its own."""
    folder = tmp_path_factory.mktemp("lab")
    for each in (folder, folder / "other"):
        lab_certificates.make_authority(each)
        lab_certificates.make_server(each, NAMES)
        lab_certificates.make_client(each, "KATE")
    lab_certificates.make_client(folder, "bob")
    lab_certificates.make_client(folder, "late", days=0)
    return folder


def files(lab, **others) -> TlsFiles:
    return TlsFiles(lab / "server.crt", lab / "server.key", **others)


def client(node: Node, lab, user: str = "", ca=None) -> flight.FlightClient:
    endpoint = node.endpoints[-1]
    options = {"tls_root_certs": ((ca or lab) / "ca.crt").read_bytes()}
    if user:
        options |= {
            "cert_chain": (lab / f"{user}.crt").read_bytes(),
            "private_key": (lab / f"{user}.key").read_bytes(),
        }
    return flight.FlightClient(f"grpc+tls://localhost:{endpoint.port}", **options)


def port_of(node: Node) -> int:
    return next(endpoint.port for endpoint in node.endpoints if endpoint.scheme == "grid+tls")


def hello(client: flight.FlightClient, authorization: str = "") -> messages.Welcome:
    headers = [(b"authorization", authorization.encode())] if authorization else []
    message = messages.encode(messages.Hello("test", os.getpid(), gridflow.__version__))
    options = flight.FlightCallOptions(timeout=10, headers=headers)
    (result,) = client.do_action(flight.Action("hello", message), options)
    return messages.decode(result.body.to_pybytes(), messages.Welcome)


def shown(node: Node) -> bytes:
    """The certificate that the node shows to who connects now."""
    return ssl.get_server_certificate(("127.0.0.1", node.endpoints[-1].port), timeout=10).encode()


def shown_or_nothing(node: Node) -> bytes:
    """The same; nothing in the moment in which nobody listens."""
    try:
        return shown(node)
    except OSError:
        return b""


def test_what_is_sent_is_encrypted_and_the_node_has_to_be_vouched_for(tmp_path, lab):
    with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(lab)) as node:
        token = local_tokens.read_token(node.endpoints[-1].port)
        assert hello(client(node, lab), f"Bearer {token}").home == str(node.home)
        node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
        door = client(node, lab)
        _, value = door.authenticate_basic_token("KATE", "a")
        assert hello(door, value.decode()).pid == os.getpid()
        for wrong in (
            client(node, lab, ca=lab / "other"),
            flight.FlightClient(f"grpc+tcp://127.0.0.1:{node.endpoints[-1].port}"),
        ):
            with pytest.raises(flight.FlightError):
                hello(wrong, value.decode())


def test_old_versions_of_tls_are_refused(tmp_path, lab):
    with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(lab)) as node:
        for highest, is_taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.set_alpn_protocols(["h2"])
            context.load_verify_locations(lab / "ca.crt")
            with pytest.warns(DeprecationWarning) if not is_taken else threading.Lock():
                context.minimum_version = ssl.TLSVersion.TLSv1_1 if not is_taken else highest
            with pytest.warns(DeprecationWarning) if not is_taken else threading.Lock():
                context.maximum_version = highest
            try:
                with socket.create_connection(("127.0.0.1", node.endpoints[-1].port), 10) as raw:
                    with context.wrap_socket(raw, server_hostname="localhost") as wrapped:
                        version = wrapped.version()
            except (ssl.SSLError, OSError):
                version = None
            assert (version is not None) is is_taken


def test_a_certificate_s_name_is_its_user_s(tmp_path, lab):
    with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(lab, client_ca=lab / "ca.crt")) as node:
        with pytest.raises(flight.FlightUnauthenticatedError, match="no user of the grid"):
            hello(client(node, lab, "KATE"))
        node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
        node.grid.sql("CREATE USER BOB WITH PASSWORD 'b'")
        assert hello(client(node, lab, "KATE")).pid == os.getpid()
        assert hello(client(node, lab, "bob")).pid == os.getpid()
        node.grid.sql("DROP USER BOB")  # takes the certificate back
        with pytest.raises(flight.FlightUnauthenticatedError, match="no user of the grid"):
            hello(client(node, lab, "bob"))
        for of, user in ((lab, ""), (lab / "other", "KATE"), (lab, "late")):
            with pytest.raises(flight.FlightUnavailableError):
                hello(client(node, of, user, ca=lab))


def test_a_certificate_and_a_login_are_of_one_user(tmp_path, lab):
    import base64

    with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(lab, client_ca=lab / "ca.crt")) as node:
        node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
        node.grid.sql("CREATE USER BOB WITH PASSWORD 'b'")
        door = client(node, lab, "KATE")
        assert hello(door, "Basic " + base64.b64encode(b"KATE:a").decode())
        for word in ("Basic " + base64.b64encode(b"BOB:b").decode(), "Bearer x"):
            with pytest.raises(flight.FlightUnauthenticatedError):
                hello(door, word)


def test_an_encrypted_key(tmp_path, lab, monkeypatch):
    key = serialization.load_pem_private_key((lab / "server.key").read_bytes(), None)
    encrypted = tmp_path / "server.key"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"warm kitty"),
        )
    )
    word = tmp_path / "word"
    word.write_text("warm kitty\nwhat follows is no part of it\n")
    assert Certificates(TlsFiles(lab / "server.crt", encrypted, word)).pair.key == (lab / "server.key").read_bytes()
    with pytest.raises(UsageError, match="--tls-key-password-file"):
        Certificates(TlsFiles(lab / "server.crt", encrypted))
    word.write_text("soft kitty")
    with pytest.raises(UsageError, match="no certificate and its key") as caught:
        Certificates(TlsFiles(lab / "server.crt", encrypted, word))
    assert "soft" not in str(caught.value)
    monkeypatch.setenv(tls.PASSWORD_VARIABLE, "warm kitty")
    assert b"ENCRYPTED" not in Certificates(TlsFiles(lab / "server.crt", encrypted)).pair.key


@pytest.mark.parametrize(
    "certificate, key, client_ca, said",
    [
        ("server.crt", "KATE.key", None, "no certificate and its key"),
        ("server.key", "server.crt", None, "no certificate and its key"),
        ("none.crt", "server.key", None, "No such file"),
        ("server.crt", "none.key", None, "No such file"),
        ("server.crt", "server.key", "server.key", "holds no certificates"),
        ("server.crt", "server.key", "none", "No such file"),
    ],
)
def test_what_is_no_pair_is_said_before_the_grid_is_made(tmp_path, lab, certificate, key, client_ca, said):
    wrong = TlsFiles(lab / certificate, lab / key, None, lab / client_ca if client_ca else None)
    with pytest.raises(UsageError, match=said):
        Node(tmp_path / "grid", listen=[LOOPBACK], tls=wrong)
    assert not (tmp_path / "grid").exists()


def test_a_certificate_and_an_address_for_it_go_together(tmp_path, lab):
    with pytest.raises(UsageError, match="--tls-cert"):
        Node(tmp_path / "grid", listen=[LOOPBACK])
    with pytest.raises(UsageError, match=r"grid\+tls"):
        Node(tmp_path / "grid", listen=["grid://127.0.0.1:0"], tls=files(lab))


def test_beyond_this_machine_there_must_be_a_user(tmp_path, lab):
    with pytest.raises(UsageError, match="CREATE USER"):
        Node(tmp_path / "grid", listen=["grid+tls://0.0.0.0:0"], tls=files(lab))
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
    with Node(tmp_path / "grid", listen=["grid+tls://0.0.0.0:0"], tls=files(lab)) as node:
        assert not node.endpoints[-1].is_loopback


def begin_transaction(door: flight.FlightClient, options: flight.FlightCallOptions) -> bytes:
    """Begin one by Flight SQL; returns the bytes that name it, as the answer has them."""
    (answer,) = door.do_action(
        flight.Action("BeginTransaction", flight_sql.encode_any("ActionBeginTransactionRequest")), options
    )
    return flight_sql.decode_any(answer.body.to_pybytes())[1].transaction_id


def end_transaction(door: flight.FlightClient, options: flight.FlightCallOptions, begun: bytes) -> None:
    request = flight_sql.encode_any("ActionEndTransactionRequest", transaction_id=begun, action=2)
    list(door.do_action(flight.Action("EndTransaction", request), options))


class TestRenewal:
    @pytest.fixture
    def own(self, tmp_path, lab):
        folder = tmp_path / "own"
        shutil.copytree(lab, folder)
        return folder

    def renew(self, folder):
        """Another pair of the same authority, where the first was."""
        for kind in ("crt", "key"):
            (folder / f"server.{kind}").unlink()
        lab_certificates.make_server(folder, NAMES)

    def test_new_connections_see_the_new_one_and_calls_that_run_end_as_they_are(self, tmp_path, own):
        with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(own)) as node:
            node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
            node.grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY); GRANT INSERT ON T TO KATE")
            door = client(node, own)
            _, token = door.authenticate_basic_token("KATE", "a")
            options = flight.FlightCallOptions(headers=[(b"authorization", token)])
            load = flight.FlightDescriptor.for_command(messages.encode(messages.Load("T", "error")))
            writer, answers = door.do_put(load, pa.schema({"ID": pa.int64()}), options)
            writer.write_batch(pa.record_batch({"ID": [1, 2]}))
            before, begun = shown(node), begin_transaction(door, options)
            self.renew(own)
            node.renew_certificates()
            assert shown(node) == (own / "server.crt").read_bytes() != before
            assert hello(client(node, own), token.decode()).pid == os.getpid()  # a token is good as it was
            writer.write_metadata(messages.encode(messages.LoadEnd(2)))
            writer.done_writing()
            assert messages.decode(answers.read().to_pybytes(), messages.Done).count == 2
            writer.close()
            assert hello(door, token.decode()).pid == os.getpid()
            end_transaction(door, options, begun)  # it is still known

    def test_a_half_written_pair_is_not_taken(self, tmp_path, own, caplog):
        certificates = Certificates(files(own))
        before = certificates.pair
        key = (own / "server.key").read_bytes()
        (own / "server.crt").write_bytes((own / "KATE.crt").read_bytes())
        with caplog.at_level(logging.WARNING):
            assert not certificates.look() and certificates.pair == before
            assert "stays as it was" in caplog.text
            caplog.clear()
            assert not certificates.look() and not caplog.text  # said once
            (own / "server.key").write_bytes(key[:100])
            assert not certificates.look()
            (own / "server.key").unlink()
            assert not certificates.look()
        shutil.copy(own / "KATE.key", own / "server.key")
        assert certificates.look() and certificates.pair.certificate == (own / "KATE.crt").read_bytes()
        assert not certificates.look()

    def test_files_that_change_are_seen_without_a_word(self, tmp_path, own, monkeypatch):
        monkeypatch.setattr("gridflow.server.node.LOOK_SECONDS", 0.02)
        with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(own)) as node:
            self.renew(own)
            deadline = time.monotonic() + 30
            while shown_or_nothing(node) != (own / "server.crt").read_bytes():
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def test_sighup_has_the_server_look(self, tmp_path, own):
        options = ["--tls-cert", own / "server.crt", "--tls-key", own / "server.key", "--listen", LOOPBACK]
        with ServerProcess(tmp_path / "grid", *map(str, options)) as server:
            addresses = [line.split()[2] for line in server.printed if line.startswith("listens on")]
            endpoint = Endpoint.parse(addresses[-1])
            self.renew(own)
            deadline = time.monotonic() + 30
            while True:
                os.kill(server.pid, signal.SIGHUP)
                try:
                    now = ssl.get_server_certificate(("127.0.0.1", endpoint.port), timeout=10).encode()
                except OSError:
                    now = b""
                if now == (own / "server.crt").read_bytes():
                    break
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert server.stop() == 0


def test_what_the_lab_makes(tmp_path, lab):
    assert (lab / "ca.key").stat().st_mode & 0o777 == 0o600 == (lab / "KATE.key").stat().st_mode & 0o777
    certificate = x509.load_pem_x509_certificate((lab / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.timezone.utc)
    assert 364 <= left.days <= 365
    with pytest.raises(UsageError, match="already"):
        lab_certificates.make_client(lab, "KATE")
    with pytest.raises(UsageError, match="no authority"):
        lab_certificates.make_server(tmp_path, ["localhost"])
    with pytest.raises(UsageError, match="names"):
        lab_certificates.make_server(lab, [])
    for name in ("", "../x", "a/b", ".x", "x\0", "ca", "server", "x" * 61):
        with pytest.raises(UsageError):
            lab_certificates.make_client(lab, name)
    assert not (lab.parent / "x.crt").exists()


def test_a_remote_grid_is_its_certificate_s_user(tmp_path, lab):
    with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(lab, client_ca=lab / "ca.crt")) as node:
        node.grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X INT)")
        node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'; GRANT SELECT, INSERT, UPDATE ON T TO KATE; CREATE USER BOB")
        address = f"grid+tls://localhost:{port_of(node)}"
        own = {"ca": lab / "ca.crt", "cert": lab / "KATE.crt", "key": lab / "KATE.key"}
        for more in ({}, {"user": "KATE", "password": "a"}):
            with gridflow.connect(address, **own, **more) as grid:
                grid.table("T").put(1, {"X": 5})
                assert grid.table("T").get(1) == {"X": 5}
                assert grid.sql("SELECT COUNT(*) FROM T").scalar() == 1
                with pytest.raises(GridAccessError, match="DELETE ON T"):
                    grid.table("T").remove(1)
                with pytest.raises(GridAccessError, match="ADMIN"):
                    grid.drop_table("T")
        with pytest.raises(GridAccessError):
            gridflow.connect(address, **own, user="BOB", password="a").close()
        bob = {**own, "cert": lab / "bob.crt", "key": lab / "bob.key"}
        with gridflow.connect(address, **bob) as grid:
            assert grid.tables() == []
            node.grid.sql("DROP USER BOB")
            with pytest.raises(GridAccessError):
                grid.tables()


def test_a_remote_grid_goes_on_when_the_certificate_changes(tmp_path, lab):
    own = tmp_path / "own"
    shutil.copytree(lab, own)
    with Node(tmp_path / "grid", listen=[LOOPBACK], tls=files(own)) as node:
        node.grid.sql(
            "CREATE TABLE T (ID LONG PRIMARY KEY, X INT); CREATE USER KATE WITH PASSWORD 'a'; GRANT WRITER TO KATE"
        )
        with gridflow.connect(
            f"grid+tls://localhost:{port_of(node)}", ca=lab / "ca.crt", user="KATE", password="a"
        ) as grid:
            for turn in range(3):
                grid.table("T").put(turn, {"X": turn})
                TestRenewal().renew(own)
                node.renew_certificates()
                assert shown(node) == (own / "server.crt").read_bytes()
                assert grid.sql("SELECT MAX(X) FROM T").scalar() == turn
                assert grid.table("T").get(turn) == {"X": turn}
