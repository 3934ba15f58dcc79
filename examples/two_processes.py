"""Several processes on one grid: a server owns it, everybody maps it, and a write is seen at once by all.

Makes a grid of its own and removes it. No TensorFlow here: tables are for any program.
"""

import subprocess
import sys
import tempfile

import numpy as np

import gridflow


def child(home: str) -> None:
    """The second process: it reads what the first one wrote, and writes a row itself."""
    with gridflow.connect(home) as grid:
        samples = grid.table("SAMPLES")
        column = samples.to_arrow(["X"])["X"]  # views of the mapped files: nothing is copied or sent
        total = sum(chunk.to_numpy_ndarray().sum() for chunk in column.chunks)
        print(f"second process: {len(samples)} rows, sum of X is {total:g}")
        samples.put(-1, {"X": np.full(256, 0.5, np.float32), "NOTE": "from the second process"})


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "gridflow", "serve", "--home", home]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                while not server.stdout.readline().startswith("ready"):
                    if server.poll() is not None:
                        raise SystemExit("the server did not start")
                # The same call as without a server: connect() finds out.
                with gridflow.connect(home) as grid:
                    print(f"first process:  {type(grid).__name__} of the server")
                    grid.sql("CREATE TABLE SAMPLES (ID LONG PRIMARY KEY, X FLOAT32[256], NOTE VARCHAR)")
                    samples = grid.table("SAMPLES")
                    samples.load({"ID": np.arange(1000), "X": np.ones((1000, 256), np.float32)})
                    subprocess.run([sys.executable, __file__, home], check=True)
                    print(f"first process:  row -1 says {samples.get(-1)['NOTE']!r}; {len(samples)} rows")
            finally:
                server.terminate()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1])
    else:
        main()
