"""A remote grid with TLS: both of its ways are encrypted, and the node has to be vouched for."""

from __future__ import annotations

import pytest

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
