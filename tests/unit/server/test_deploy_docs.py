"""What docs/remote.md and docs/deploy.md say to write is right, as far as one machine can tell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.flight as flight
import pytest

from gridflow.cli.serve import command
from gridflow.protocols import messages

ROOT = Path(__file__).resolve().parents[3]
REMOTE = (ROOT / "docs" / "remote.md").read_text(encoding="utf-8")
DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_tls_in_five_commands(tmp_path):
    pytest.importorskip("cryptography")
    (script,) = [block for block in blocks(REMOTE, "bash") if "gridflow cert ca" in block]
    port = free_port()
    functions = f'gridflow() {{ "{sys.executable}" -m gridflow "$@"; }}\nset -e\n'
    script = functions + script.replace("10850", str(port))
    script = script.replace("gridflow serve", f'exec "{sys.executable}" -m gridflow serve')
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("ready"):
                break
        else:
            pytest.fail("".join(printed))
        door = flight.FlightClient(
            f"grpc+tls://localhost:{port}", tls_root_certs=(tmp_path / "lab" / "ca.crt").read_bytes()
        )
        header = door.authenticate_basic_token("kate", "warm kitty")
        sql = messages.encode(messages.Sql("SELECT PRIVILEGE FROM SYS.GRANTS", None, b""))
        rows = door.do_get(flight.Ticket(sql), flight.FlightCallOptions(headers=[header], timeout=30)).read_all()
        assert rows.to_pylist() == [{"PRIVILEGE": "WRITER"}]
        door.close()
        (last,) = [block for block in blocks(REMOTE, "bash") if "gridflow sql --home grid+tls" in block]
        last = last.replace("box.example", f"localhost:{port}").replace("=ca.crt", "=lab/ca.crt")
        done = subprocess.run(
            ["bash", "-c", functions + last],
            cwd=tmp_path,
            env={**environment, "GRIDFLOW_PASSWORD": "warm kitty"},
            text=True,
            input="SELECT PRIVILEGE FROM SYS.GRANTS;",
            capture_output=True,
        )
        assert "WRITER" in done.stdout, done.stdout + done.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_what_may_be_granted_can_be_written(tmp_path):
    import gridflow

    (script,) = [block for block in blocks(REMOTE, "sql") if "GRANT" in block]
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE USER kate; CREATE USER bob; CREATE TABLE images (ID LONG PRIMARY KEY)")
        grid.sql(script)
        assert grid.sql("SELECT COUNT(*) FROM SYS.GRANTS WHERE USER_NAME = 'BOB'").scalar() == 1


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_one(tmp_path):
    (unit,) = blocks(DEPLOY, "ini")
    file = tmp_path / "gridflow.service"
    file.write_text(unit.replace("/opt/gridflow/bin/gridflow", shutil.which("true") or "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "gridflow.service" in line]
    assert said == []


def test_the_manifest_is_one():
    yaml = pytest.importorskip("yaml")
    (manifest,) = blocks(DEPLOY, "yaml")
    grid, service, policy = yaml.safe_load_all(manifest)
    assert [each["kind"] for each in (grid, service, policy)] == ["StatefulSet", "Service", "NetworkPolicy"]
    pod = grid["spec"]["template"]["spec"]
    mounts = [mount["name"] for each in (*pod["containers"], *pod["initContainers"]) for mount in each["volumeMounts"]]
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert {*mounts} == {*volumes, "data"}
    labels = grid["spec"]["template"]["metadata"]["labels"]
    assert labels == grid["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert pod["terminationGracePeriodSeconds"] > 5


def test_options_that_are_named_are_there():
    known = {option for parameter in command.params for option in parameter.opts}
    (unit,), (manifest,) = blocks(DEPLOY, "ini"), blocks(DEPLOY, "yaml")
    (container,) = [block for block in blocks(DEPLOY, "dockerfile") if "CMD" in block]
    texts = [
        unit.split("ExecStart=")[1].split("ExecReload")[0],
        container.split("\nCMD")[1],
        manifest.split("- serve")[1],
    ]
    named = [set(re.findall(r"--[a-z][a-z-]+", text)) for text in texts]
    assert all(named) and set().union(*named) <= known
