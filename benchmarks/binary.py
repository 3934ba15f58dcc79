"""Sequential reading of byte strings of many lengths

Strings of 20 to 200 KB, the sizes of JPEG files, and a label, in batches of 32 of `tf.string`; all in memory before the
clock runs. Rows per second:

    delivered   `for batch in dataset: pass`
    touched     a Python loop in which TensorFlow hashes every string: that reads all bytes and copies none

"the same batch again" hands out one batch: touched, it shows the speed of hashing alone, which bounds all others. The
clock covers the same as in read.py, and the peers have the same forms. No string is decoded. HF datasets are left out:
to_tf_dataset has no strings of bytes.

    python benchmarks/binary.py [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _peers
import numpy as np
import tensorflow as tf
from _harness import GIB, Benchmark
from _loops import LOOPS, contender
from _rows import Rows

import gridflow

BATCH = 32
SIZES = (20_000, 200_000)
OURS = "gridflow.Dataset(batch_size=)"
AGAIN = "the same batch again"
KINDS = [_peers.TFRecord, _peers.Snapshot, _peers.ArrayRecord, _peers.Lance, _peers.Lmdb]


def main() -> None:
    bench = Benchmark("binary", __doc__, packages=["tensorflow", *_peers.packages()], rounds=5)
    count = 100 if bench.quick else 6_000
    bench.settings |= {"least seconds for a figure": bench.least_seconds, "batch": BATCH}
    bench.skip(_peers.HuggingFace.name, "its to_tf_dataset has no byte strings")
    generator = np.random.default_rng(1)
    values = [generator.bytes(int(size)) for size in generator.integers(*SIZES, count)]
    rows = Rows(values, generator.integers(0, 1000, count), None)
    group = f"{count:,} strings of 20 to 200 KB and a label, batch {BATCH}"
    with bench.scratch(count * max(SIZES) * 6 + GIB) as folder:
        rows.to_grid(folder / "grid")
        datasets = {OURS: gridflow.Dataset("ROWS", home=folder / "grid", batch_size=BATCH)}
        forms = {peer.name: peer.sequential(BATCH) for peer in _peers.write_peers(bench, folder, rows, KINDS)}
        for form_datasets in (*forms.values(), _peers.slices(values, rows.labels, BATCH)):
            datasets |= form_datasets
        constant = tf.data.Dataset.from_tensors(next(iter(datasets[OURS])))
        datasets[AGAIN] = constant.repeat(count // BATCH)
        contenders = {name: contender(dataset, count, BATCH, bench.least_seconds) for name, dataset in datasets.items()}
        bench.measure(group, contenders, unit="rows/s")
    outside = [name for form_datasets in forms.values() for name in form_datasets]
    for metric in LOOPS:
        our_rate = bench.median(group, metric, OURS)
        records = bench.best(group, metric, list(forms[_peers.TFRecord.name]))
        bench.target(f"{metric}, against TFRecord", our_rate / records, 5.0, "x")
        bench.target(f"{metric}, against the best peer", our_rate / bench.best(group, metric, outside), None, "x")
    share = bench.median(group, "touched", OURS) / bench.median(group, "touched", AGAIN)
    bench.target("touched, of what hashing alone reaches", share * 100, None, "%")
    bench.finish()


if __name__ == "__main__":
    main()
