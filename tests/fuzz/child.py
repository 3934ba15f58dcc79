"""A process that tries damaged files, to see whatever they do to it: ``python child.py KIND FIRST COUNT FOLDER``.

It says on its standard output which case it begins with, and what is wrong with one that is no error of Gridflow's and
no right result. What ends the process, takes too long or too much memory ends it during a case.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import grids  # noqa: E402
import outside  # noqa: E402

from gridflow import GridflowError, InternalError  # noqa: E402

#: A case takes milliseconds; these tell a hang, or memory out of all proportion.
_SECONDS, _MOST_BYTES, _ROOM = 20, 256 << 20, 6 << 30


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    kind, first, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    faulthandler.enable()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    errors = results = 0
    with (grids if kind in grids.KINDS else outside).cases(kind, folder) as attempt:
        for number in range(first, first + count):
            print("begin", number, flush=True)
            before = _resident()
            faulthandler.dump_traceback_later(_SECONDS, exit=True)
            try:
                attempt(number)
                results += 1
            except InternalError:
                print("wrong", number, traceback.format_exc(), flush=True)
            except GridflowError:
                errors += 1
            except BaseException:
                print("wrong", number, traceback.format_exc(), flush=True)
            faulthandler.cancel_dump_traceback_later()
            if _resident() - before > _MOST_BYTES:
                print("wrong", number, f"it took {(_resident() - before) >> 20} MiB", flush=True)
    print("end", errors, results, flush=True)
    os._exit(0)  # what is left of damaged grids need not be closed


if __name__ == "__main__":
    main()
