"""docs/stability.md says what there is."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = re.compile(r"#define GF_(\w+)_VERSION (\d+)u")
#: No file of a grid that is kept: rings are made anew by each client, and must be of the same release.
NOT_KEPT = {"RING"}


def test_the_versions_of_formats_are_those_of_the_headers():
    headers = (ROOT / "kernels/include/gridflow").glob("*_format.h")
    defined = {name: int(number) for path in headers for name, number in VERSIONS.findall(path.read_text())}
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (?:\d+ to )?(\d+) \|$", (ROOT / "docs/stability.md").read_text(), re.M)
    assert len(rows) == 9
    assert all(written == read for _, written, read in rows)
    assert {name.upper(): int(written) for name, written, _ in rows} == {
        name: number for name, number in defined.items() if name not in NOT_KEPT
    }
