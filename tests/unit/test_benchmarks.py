"""Every benchmark runs, in its short form, and what it writes makes sense. How fast anything is, no test says."""

from __future__ import annotations

import json
import math
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lmdb")
pytest.importorskip("matplotlib")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py"))
STARTS_TENSORFLOW = {"binary", "disk", "live", "memory", "narrow", "open", "read", "remote", "rows", "shuffle"}

METRICS = {
    "binary": {"delivered", "touched"},
    "copy_csv": {"read", "written"},
    "disk": {"cold", "warm"},
    "gpu": {"rate", "opened", "call"},
    "index": {"rows", "aggregate", "range", "made"},
    "sql": {"filter and aggregate", "group by", "insert", "select"},
    "kv": {"put", "get"},
    "live": {
        "sequential",
        "first batch",
        "shuffled",
        "where=",
        "where= shuffled",
        "weights=",
        "new where=",
        "get",
        "get_all",
    }
    | {"gathered", "in sequence"}
    | {"COUNT(*)", "group by", "MAX", "top 10", "BETWEEN", "UPDATE of 1 %", "UPDATE of all"},
    "load": {"loaded"},
    "writes": {"rate", "median", "99th percentile"},
    "memory": {"files", "growth", "whole processes"},
    "remote_keys": {"rate", "median", "99th percentile"},
    "open": {"Dataset() to batch", "process to batch", "of its files touched", "page faults"},
    "narrow": {"delivered", "touched"},
    "read": {"drained", "delivered", "touched", "first epoch", "second epoch"},
    "remote": {"rate"},
    "rows": {"delivered", "touched"},
    "shuffle": {"delivered", "touched", "per core", "growth"},
}


@pytest.mark.parametrize(
    "name", [pytest.param(s, marks=[pytest.mark.long] if s in STARTS_TENSORFLOW else []) for s in SCRIPTS]
)
def test_quick_run(name, tmp_path):
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "it writes nowhere else"
    assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / f"{name}.json").read_text()
    check(name, json.loads(text))
    for private in (socket.gethostname(), str(tmp_path), str(BENCHMARKS.parent), os.path.expanduser("~")):
        assert private not in text or len(private) < 4


def check(name, record):
    assert record["benchmark"] == name
    assert record["quick"] is True
    machine = record["machine"]
    assert machine["cpu"] and machine["cores"] >= 1 and machine["memory_gib"] > 0
    assert {"python", "gridflow", "numpy"} <= machine["versions"].keys()
    assert "not installed" not in machine["versions"].values()

    results = record["results"]
    assert {r["metric"] for r in results} == METRICS[name]
    assert any(r["contender"].startswith("gridflow") for r in results)
    assert len({(r["group"], r["metric"], r["contender"]) for r in results}) == len(results)
    for result in results:
        assert result["better"] in ("higher", "lower")
        assert len(result["rounds"]) == record["settings"]["rounds"]
        assert all(math.isfinite(value) for value in result["rounds"])
        assert result["median"] == statistics.median(result["rounds"])
        if result["metric"] != "growth":  # of so little data it may drown in what else a process does
            assert result["median"] > 0, result

    assert record["targets"]
    assert all(record["skipped"].values()), "what is left out has a reason"
    for target in record["targets"]:
        assert math.isfinite(target["reached"])
        assert (target["met"] is None) == (target["wanted"] is None)


def test_there_is_a_script_for_every_metric():
    assert set(SCRIPTS) == METRICS.keys()
