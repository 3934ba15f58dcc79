"""Asks the package index for known weaknesses of what is installed (pip-audit); part of `make lint`.

Where the index does not know, or is out of reach, it says so and nothing fails.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """How many packages have one."""
    command = [sys.executable, "-m", "pip_audit", "-f", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        reply = subprocess.run(command, capture_output=True, text=True, timeout=120)
        packages = json.loads(reply.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        print("skipped: pip-audit, which cannot reach the package index")
        return 0
    known = [package for package in packages if "vulns" in package]
    if not known:
        print("skipped: pip-audit, as the package index here does not say what is known of its packages")
    weak = [package for package in known if package["vulns"]]
    for package in weak:
        for one in package["vulns"]:
            print(
                f"{package['name']} {package['version']}: {one['id']}; fixed in {', '.join(one['fix_versions']) or '-'}"
            )
    return len(weak)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
