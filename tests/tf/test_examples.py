"""Each script of examples/ runs as a user starts it, and says what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gridflow

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, home: Path, cwd: Path) -> str:
    """What a script prints; it must end well, without a warning about sharding. `home` is the default grid."""
    for module in ("sklearn", "skimage", "matplotlib") if script == "demo.py" else ():
        pytest.importorskip(module)
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / script],
        cwd=cwd,
        env={**os.environ, "GRIDFLOW_HOME": str(home), "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "shard" not in re.sub(r"\S+[/.]\S*", "", result.stderr.lower()), result.stderr
    return result.stdout


@pytest.fixture
def verified(tmp_path):
    """A grid's directory, checked after the test."""
    home = tmp_path / "grid"
    yield home
    with gridflow.connect(home) as grid:
        assert grid.check() == []


def test_kittens_by_sql(verified, tmp_path):
    lines = run("kittens_by_sql.py", verified, tmp_path).splitlines()
    assert sorted(lines) == [
        "{'key': 1, 'val': {'NAME': b'WARM KITTY'}}",
        "{'key': 2, 'val': {'NAME': b'SOFT KITTY'}}",
        "{'key': 3, 'val': {'NAME': b'LITTLE BALL OF FUR'}}",
    ]
    assert sorted(run("kittens_by_sql.py", verified, tmp_path).splitlines()) == sorted(lines)  # once more


def test_structured_objects(verified, tmp_path):
    text = run("structured_objects.py", verified, tmp_path)
    assert "refused: cache IMAGES: the value under 'dog.png'" in text
    assert "  this value is:   STRING -> STRUCT<metadata STRUCT<" in text
    assert "'pixels': TensorSpec(shape=(600, 800), dtype=tf.uint8, name=None)" in text
    assert "label      b'little ball of fur'" in text


def test_map_pixels(verified, tmp_path):
    text = run("map_pixels.py", verified, tmp_path)
    assert "one row:  TensorSpec(shape=(28, 28), dtype=tf.uint8, name=None)" in text
    assert "mean of all pixels: 49.5" in text
    assert "TensorSpec(shape=(32, 28, 28), dtype=tf.float32, name=None)" in text
    assert "batches:  3" in text


def test_two_processes(tmp_path):
    text = run("two_processes.py", tmp_path / "unused", tmp_path)
    assert "second process: 1000 rows, sum of X is 256000" in text
    assert "first process:  row -1 says 'from the second process'; 1001 rows" in text
    assert not (tmp_path / "unused").exists()


def test_workers(tmp_path):
    text = run("workers.py", tmp_path / "unused", tmp_path)
    assert re.search(r"^shares: the workers read \[331, 669\] rows$", text, re.M), text
    assert re.search(r"^dealt: the workers read \[500, 500\] rows$", text, re.M), text
    assert re.search(r"^model: y = [23]\.\d\d x \+ 1\.00$", text, re.M), text


def test_in_graph(tmp_path):
    text = run("in_graph.py", tmp_path / "unused", tmp_path)
    assert "rows of an epoch, by worker: [517, 483]" in text
    assert "model: y = 3.00 x + 1.00" in text


def test_demo(tmp_path):
    text = run("demo.py", tmp_path / "unused", tmp_path)
    assert re.search(r"accuracy on the 354 digits of partitions 80 to 99: (9[5-9]|100)", text)
    assert "an iterator begun before it: 141 wrong labels" in text
    assert "an iterator begun after it:  0 wrong labels" in text
    # The tiles are in two processes, each shown with all of them and with about half.
    rows = re.findall(r"^  (?:this one|the second)\D+(\d+) +(\d+) +(\d+) +(\d+)$", text, re.M)
    assert len(rows) == 2, text
    for _, _, rss, pss in rows:
        assert int(rss) > 150 and int(pss) < 0.75 * int(rss)
    assert "no problems" in text
    assert not (tmp_path / "unused").exists()
    pictures = [tmp_path / "demo-output" / name for name in ("samples.png", "partitions.png")]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    server, *_ = re.findall(r"^  home +(\S+)", text, re.M)
    assert not Path(server).exists()
