"""What docs/sql-clients.md shows, run: against a node of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from gridflow.protocols.address import Endpoint
from gridflow.server import Node
from gridflow.server.flight import FlightService

from .test_readme import blocks

DOCUMENT = "docs/sql-clients.md"
#: Where the driver's file is: Maven has it as org.apache.arrow:flight-sql-jdbc-driver.
JDBC_DRIVER = os.environ.get("GRIDFLOW_JDBC_DRIVER")


@pytest.fixture
def node(home):
    doors = [FlightService(Endpoint.of_grid(home)), FlightService(Endpoint("grid", host="127.0.0.1"))]
    node = Node(home, services=doors)
    node.grid.sql("CREATE USER KATE WITH PASSWORD 'warm'; GRANT WRITER TO KATE")
    yield node
    node.stop()


def test_adbc(node, capsys):
    pytest.importorskip("adbc_driver_flightsql.dbapi")
    code, _ = blocks(DOCUMENT, "python")
    socket = "/data/grid/serve.sock"
    assert socket in code
    exec(compile(code.replace(socket, f"{node.home}/serve.sock"), DOCUMENT, "exec"), {})
    assert "SOFT KITTY" in capsys.readouterr().out
    assert len(node.grid.table("KITTENS")) == 4 and len(node.grid.table("MORE_KITTENS")) == 2


def test_sqlalchemy(capsys):
    pytest.importorskip("pandas")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    sqlalchemy.dialects.registry.register("gridflow", "gridflow.dbapi.sqlalchemy", "GridflowDialect")
    _, code = blocks(DOCUMENT, "python")
    exec(compile(code, DOCUMENT, "exec"), {})
    assert "SOFT" in capsys.readouterr().out


@pytest.mark.skipif(JDBC_DRIVER is None or shutil.which("java") is None, reason="no java, or no $GRIDFLOW_JDBC_DRIVER")
def test_jdbc(node, tmp_path):
    node.grid.sql("CREATE TABLE KITTENS (ID LONG PRIMARY KEY, NAME VARCHAR)")
    (code,) = blocks(DOCUMENT, "java")
    source = tmp_path / "Kittens.java"
    source.write_text(code)
    port = node.endpoints[1].port
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{port}?user=KATE&password=warm&useEncryption=false"
    opens = "--add-opens=java.base/java.nio=ALL-UNNAMED"
    command = ["java", opens, "-cp", JDBC_DRIVER, str(source), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "1 kittens", done.stderr
    assert node.grid.table("KITTENS").get(5) == {"NAME": "SLEEPY KITTY"}
