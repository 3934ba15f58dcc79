"""A key that is looked up in damaged segments: its last row or an error, and no row that was written over."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import gridflow

STEP = """
import json, sys
import gridflow

home, step, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
if step == "load":
    with gridflow.connect(home) as grid:
        grid.table("T").load({"ID": range(rows), "V": [1] * rows}, on_duplicate="replace")
        print(len(grid.table("T").snapshot().segments()))
else:
    with gridflow.connect(home, read_only=True) as grid:
        table, values = grid.table("T"), {"0": 0, "1": 0, "error": 0}
        for key in range(rows):
            try:
                value = table.get(key)["V"] if step == "get" else table.get_all([key])[key]["V"]
                values[str(value)] += 1
            except gridflow.GridflowError:
                values["error"] += 1
        print(json.dumps(values))
"""


def run(*arguments: object) -> object:
    """In a process that has checked no block of the files yet."""
    command = [sys.executable, "-c", STEP, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.parametrize("read", ["get", "get_all"])
def test_a_row_that_a_damaged_search_has_not_deleted_does_not_come_back(tmp_path, read):
    home, few, many = tmp_path / "grid", 60_000, 200_000
    with gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID").load({"ID": range(few), "V": [0] * few})
    (path,) = home.rglob("*.seg")
    data = bytearray(path.read_bytes())
    hashes = int.from_bytes(data[16:20], "little")  # bytes of the header, behind which they lie
    for row in range(1, 3000, 4):
        data[hashes + 8 * row + 7] ^= 0xFF
    path.write_bytes(data)
    assert run(home, "load", many) == 2
    values = run(home, read, few)
    assert values["0"] == 0 and values["1"] + values["error"] == few
