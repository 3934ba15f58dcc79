"""A remote grid with TLS: both of its ways are encrypted, and the node has to be vouched for."""

from __future__ import annotations

import random
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization

import gridflow
from gridflow.errors import GridAccessError, GridConnectionError
from gridflow.server import Node, lab_certificates
from gridflow.server.tls import TlsFiles

SECRET = "s3cret-kitty"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for each in (folder, folder / "other"):
        lab_certificates.make_authority(each)
        lab_certificates.make_server(each, ["localhost", "127.0.0.1"])
        lab_certificates.make_client(each, "KATE")
    return folder


def opened(tmp_path, lab, **more):
    node = Node(
        tmp_path / "grid",
        listen=["grid+tls://localhost:0"],
        tls=TlsFiles(lab / "server.crt", lab / "server.key", **more),
    )
    node.grid.sql(f"CREATE USER KATE WITH PASSWORD '{SECRET}'; GRANT ADMIN TO KATE")
    return node


def test_keys_transactions_and_sql_go_encrypted(tmp_path, lab):
    with opened(tmp_path, lab) as node:
        address = str(node.endpoints[-1])
        with gridflow.connect(address, user="KATE", password=SECRET, ca=lab / "ca.crt") as grid:
            table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
            for i in range(20):
                table.put(i, {"N": i})
                assert table.get(i) == {"N": i}
            assert grid.open_grid.connection._small is not None
            assert grid.run(lambda t: t.table("T").get(3)) == {"N": 3}
            assert grid.sql("SELECT SUM(N) FROM T").scalar() == sum(range(20))
            with table.writer() as writer:
                writer.put_all((i, {"N": i}) for i in range(100))
            assert len(table) == 100
        with pytest.raises(GridAccessError) as caught:
            gridflow.connect(address, user="KATE", password="other", ca=lab / "ca.crt", timeout=5)
        assert SECRET not in str(caught.value)
        for options in ({}, {"ca": lab / "other" / "ca.crt"}):
            with pytest.raises(GridConnectionError) as failed:
                gridflow.connect(address, user="KATE", password=SECRET, timeout=2, **options)
            assert SECRET not in str(failed.value)
        with pytest.raises(GridAccessError, match="cannot be read"):
            gridflow.connect(address, user="KATE", password=SECRET, ca=lab / "nowhere")


def test_a_certificate_says_who_comes_by_either_way(tmp_path, lab):
    with opened(tmp_path, lab, client_ca=lab / "ca.crt") as node:
        address = str(node.endpoints[-1])
        files = {"ca": lab / "ca.crt", "cert": lab / "KATE.crt", "key": lab / "KATE.key"}
        with gridflow.connect(address, **files) as grid:
            table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
            table.put(1, {"N": 1})
            assert table.get(1) == {"N": 1} == table.get(1) and grid.open_grid.connection._small is not None
            with gridflow.connect(address, user="KATE", password=SECRET, **files) as both:
                assert both.table("T").get(1) == {"N": 1} and both.open_grid.connection._small is not None
            node.grid.sql("DROP USER KATE")
            for call in (lambda: table.get(1), lambda: table.put(1, {"N": 2})):
                with pytest.raises(GridAccessError):
                    call()
        other = lab / "other"
        with pytest.raises((GridConnectionError, GridAccessError)):
            gridflow.connect(address, ca=lab / "ca.crt", cert=other / "KATE.crt", key=other / "KATE.key", timeout=3)


@pytest.mark.parametrize("seconds", [1.5, pytest.param(20, marks=pytest.mark.long)])
def test_threads_that_read_and_write_at_once_keep_their_connection(tmp_path, lab, seconds):
    with opened(tmp_path, lab) as node:
        address = str(node.endpoints[-1])
        with gridflow.connect(address, user="KATE", password=SECRET, ca=lab / "ca.crt") as grid:
            table = grid.create_table("T", {"ID": "LONG", "S": "VARCHAR"}, key="ID")
            value = [{"S": f"{i}:" + "x" * (i * 100)} for i in range(100)]
            table.put_all(dict(enumerate(value)))
            table.get(1)
            channel, errors, stop = grid.open_grid.connection._small, [], time.monotonic() + seconds

            def work(seed):
                chance = random.Random(seed)
                try:
                    while time.monotonic() < stop:
                        i = chance.randrange(100)
                        if seed % 2:
                            table.put(i, value[i])
                        elif table.get(i) != value[i]:
                            errors.append(i)
                except Exception as error:
                    errors.append(error)

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == [] and channel is grid.open_grid.connection._small and not channel.closed


def encrypted(lab):
    """The file of KATE's key, with a password."""
    key = serialization.load_pem_private_key((lab / "KATE.key").read_bytes(), None)
    path = lab / "KATE.enc"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )
    )
    return path


def test_an_encrypted_key_opens_both_ways(tmp_path, lab):
    with opened(tmp_path, lab, client_ca=lab / "ca.crt") as node:
        address = str(node.endpoints[-1])
        files = {"ca": lab / "ca.crt", "cert": lab / "KATE.crt", "key": encrypted(lab)}
        with gridflow.connect(address, key_password=SECRET, **files) as grid:
            table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
            table.put(1, {"N": 1})
            assert table.get(1) == {"N": 1} == table.get(1) and grid.open_grid.connection._small is not None
        for word, said in ((None, "it is encrypted: give key_password="), ("wrong", "another password")):
            with pytest.raises(GridAccessError, match=said) as caught:
                gridflow.connect(address, key_password=word, **files)
            assert str(files["key"]) in str(caught.value) and SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
@pytest.mark.parametrize("wrong", ["missing", "empty", "another kind"])
def test_a_file_that_is_none_of_its_kind_is_named(tmp_path, lab, capfd, name, wrong):
    files = {"ca": lab / "ca.crt", "cert": lab / "KATE.crt", "key": lab / "KATE.key"}
    files[name] = tmp_path / "file.pem"
    if wrong != "missing":
        files[name].write_bytes(b"" if wrong == "empty" else (lab / "ca.crt").read_bytes()[:200])
    with pytest.raises(GridAccessError) as caught:
        gridflow.connect("grid+tls://127.0.0.1:1", timeout=2, **files)
    assert str(files[name]) in str(caught.value)
    assert capfd.readouterr().err == ""
