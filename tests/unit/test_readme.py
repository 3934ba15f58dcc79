"""The README's examples run, and what it and the other documents point to exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/ignite.md",
    "docs/administration.md",
    "docs/dataset.md",
    "docs/gpu.md",
    "docs/shell.md",
    "docs/sql-clients.md",
    "docs/conventions.md",
    "docs/stability.md",
    "docs/reference.md",
    "docs/transactions.md",
    "docs/remote.md",
    "docs/deploy.md",
    "examples/README.md",
    "gridflow/README.md",
]


def blocks(document: str, language: str) -> list[str]:
    """The fenced code blocks of a language, in order."""
    text = (ROOT / document).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def console_steps(block: str) -> list[tuple[str, str]]:
    """The commands of a console block with what each prints; "..." stands for anything."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [tuple(part.split("\n", 1)) for part in parts]


def matches(wanted: str, found: str) -> bool:
    pattern = ".*".join(re.escape(piece) for piece in wanted.strip().split("..."))
    return re.fullmatch(pattern, found.strip(), re.DOTALL) is not None


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A default grid of our own, and `gridflow` as a command even where the package is not installed."""
    folder = tmp_path_factory.mktemp("readme")
    command = folder / "gridflow"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gridflow "$@"\n')
    command.chmod(0o755)
    return folder, {
        **os.environ,
        "GRIDFLOW_HOME": str(folder / "grid"),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


@pytest.mark.parametrize(
    "document, printed",
    [
        ("README.md", "(128, 28, 28) <dtype: 'int32'>"),
        ("docs/ignite.md", "1 b'WARM KITTY'"),
        ("docs/gpu.md", "(256, 3, 32, 32) (256,)\n" * 3 + "(232, 3, 32, 32) (232,)\n"),
        ("docs/transactions.md", "cents: 110\n"),
        ("docs/dataset.md", "(64, 8, 8) (64,)\n100\n24\n100 90\n[(100,)]\nDIGITS, version "),
    ],
)
def test_code_runs(document, printed, environment):
    """Python blocks run one after the other in one program, then the console blocks on what that left."""
    folder, env = environment
    script = folder / "blocks.py"
    script.write_text("\n\n".join(blocks(document, "python")))
    for _ in range(2):  # a reader may run them again
        result = subprocess.run([sys.executable, script], env=env, cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert printed in result.stdout
    steps = [step for block in blocks(document, "console") for step in console_steps(block)]
    assert steps or document != "README.md"
    for command, wanted in steps:
        result = subprocess.run(command, shell=True, env=env, cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        assert matches(wanted, result.stdout), f"{command}\n{result.stdout}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    text = path.read_text("utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in t]
    assert [t for t in targets if not (path.parent / t).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    """`folder/file.ext` in back quotes is a file of this repository."""
    text = (ROOT / document).read_text("utf-8")
    named = re.findall(r"`((?:kernels|cython|gridflow|tests|examples|docs|benchmarks)/[\w./]+\.\w+)`", text)
    assert sorted({name for name in named if not (ROOT / name).exists()}) == []


def test_functions_that_the_architecture_names_exist():
    """`Class::Method`, `Class.method` and `module.function` are to be found in the sources."""
    named = re.findall(r"`(?:\w+(?:::|\.))+(\w+)(?:\([^`]*\))?`", (ROOT / "docs/architecture.md").read_text("utf-8"))
    folders = ["gridflow", "cython", "kernels"]
    kinds = (".py", ".pyx", ".h", ".cc")
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds)
    words = set(re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in paths)))
    files = {"py", "pyx", "h", "cc", "sock"}
    assert len(named) > 30
    assert sorted(set(named) - words - files) == []
