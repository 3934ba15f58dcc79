"""Bits that flip in a segment: what is read is right, or an error that names table, column and key."""

import random
import re

import numpy as np
import pytest
import tensorflow as tf
from damage import BLOCK, replace, rows_at

import gridflow

COLUMNS = {
    "B": "BOOL",
    "N": "INT32",
    "P": "UINT8[8]",
    "S": "STRING",
    "L": "LIST<INT16>",
    "M": "MAP<STRING, LIST<FLOAT32>>",
    "R": "STRUCT<X UUID, Y LIST<STRUCT<Z STRING>>>",
    "D": "DECIMAL(9,2)",
}


def plain(element):
    """Of an element something that can be compared: a list of lists and values."""
    tensors = [
        x.to_list() if isinstance(x, tf.RaggedTensor) else np.array(x).tolist() for x in tf.nest.flatten(element)
    ]
    return [list(element["val"]), tensors]


def made(grid, rows, columns=COLUMNS):
    table = grid.create_table("T", {"ID": "LONG", **columns}, key="ID")
    value = {
        "B": True,
        "N": 7,
        "P": np.arange(8, dtype=np.uint8),
        "S": "longer than what fits into a tensor's string",
        "L": [1, 2, 3],
        "M": {"a": [0.5], "b": []},
        "R": {"X": b"0123456789abcdef", "Y": [{"Z": "z"}, {"Z": "y"}]},
        "D": 5,
    }
    table.put_all({i: {c: None if i % 5 == 0 else value[c] for c in columns} for i in range(rows)})
    table.flush()
    (path,) = (grid.home / "tables" / str(table.table_id)).glob("*.seg")
    return table, path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 7},
        {"batch_size": 16, "shuffle": True, "seed": 3},
        {"batch_size": 9, "partitions": range(100, 800)},
    ],
    ids=["rows", "batches", "shuffled", "partitions"],
)
def test_a_flipped_bit_is_never_a_wrong_batch(grid, options):
    table, path = made(grid, 60)
    datasets = [gridflow.Dataset(table, grid=grid, nulls="mask", columns=[c], **options) for c in COLUMNS]
    right = [[plain(element) for element in dataset] for dataset in datasets]
    sound = path.read_bytes()
    chance = random.Random(1)
    found = 0
    for _ in range(10):
        data = bytearray(sound)
        at = chance.choice(rows_at(sound))
        data[at] ^= 1 << chance.randrange(8)
        replace(path, data)
        for dataset, expected in zip(datasets, right, strict=True):
            read = []
            try:
                for element in dataset:
                    read.append(plain(element))
                assert read == expected, f"byte {at}"
            except tf.errors.DataLossError as error:
                assert read == expected[: len(read)], f"byte {at}"
                assert str(path) in error.message and "does not match" in error.message
                found += 1
        replace(path, sound)
    assert found > 10


def test_an_error_in_mid_epoch_names_table_column_and_key(grid):
    """Blocks before and behind the damaged one are read, and other columns; and all of it once the file is sound."""
    table = grid.create_table("T", {"ID": "LONG", "PIXELS": "UINT8[1024]", "LABEL": "INT32"}, key="ID")
    count = 4 * BLOCK // 1024
    pixels = np.repeat(np.arange(count, dtype=np.uint8)[:, None], 1024, 1)
    table.load({"ID": np.arange(count), "PIXELS": pixels, "LABEL": np.arange(count, dtype=np.int32)})
    (path,) = (grid.home / "tables" / str(table.table_id)).glob("*.seg")
    sound = path.read_bytes()
    keys = np.concatenate([batch["key"].numpy() for batch in gridflow.Dataset(table, grid=grid, batch_size=64)])
    victim = 2 * BLOCK // 1024 + 77  # in the third block of pixels, or the fourth
    at = sound.index(pixels[keys[victim - 1]].tobytes() + pixels[keys[victim]].tobytes()) + 1500
    damaged = bytearray(sound)
    damaged[at] ^= 1
    replace(path, damaged)

    dataset = gridflow.Dataset(table, grid=grid, batch_size=64)
    good = []
    with pytest.raises(tf.errors.DataLossError) as error:
        for batch in dataset:
            assert (batch["val"]["PIXELS"].numpy() == batch["key"].numpy()[:, None].astype(np.uint8)).all()
            good += batch["key"].numpy().tolist()
    assert good == keys[: len(good)].tolist() and 64 <= len(good) <= victim
    block = rows_at(sound).start + (at - rows_at(sound).start) // BLOCK * BLOCK
    named = re.search(
        rf"column PIXELS of table T is damaged in the row where ID = (\d+): {re.escape(str(path))} is damaged at byte "
        rf"{block}: the checksum of the {BLOCK} bytes from there does not match",
        error.value.message,
    )
    assert named and good[-1] != int(named[1]), "the first row that lies in the block, which is behind those that came"
    assert keys.tolist().index(int(named[1])) <= victim

    labels = gridflow.Dataset(table, grid=grid, batch_size=64, columns=["LABEL"])
    assert sum(len(batch["key"]) for batch in labels) == count
    several = gridflow.Dataset(table, grid=grid, batch_size=16)
    iterator, bad, seen = iter(several), 0, 0
    while True:  # who goes on after an error gets the other batches
        try:
            seen += len(next(iterator)["key"])
        except tf.errors.DataLossError:
            bad += 1
        except StopIteration:
            break
    assert BLOCK // 1024 // 16 <= bad <= BLOCK // 1024 // 16 + 1 and seen == count - 16 * bad
    replace(path, sound)
    assert sum(len(batch["key"]) for batch in gridflow.Dataset(table, grid=grid, batch_size=64)) == count


def test_a_damaged_key_is_shown_with_a_doubt(grid):
    table, path = made(grid, 20, {"N": "INT32"})  # one block
    sound = path.read_bytes()
    data = bytearray(sound)
    data[rows_at(data).start + 1] ^= 16
    replace(path, data)
    with pytest.raises(
        tf.errors.DataLossError, match=r"row where ID = \d+ \(if that is not damaged, too\): .*\.seg is"
    ):
        list(gridflow.Dataset(table, grid=grid, columns=["N"], nulls="mask"))
    replace(path, sound)


def test_a_damaged_hash_costs_the_rows_near_it_and_not_the_rest(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "LONG"}, key="ID")
    for part in range(2):
        ids = np.arange(part, 200_000, 2)
        table.load({"ID": ids, "V": ids})
    folder = grid.home / "tables" / str(table.table_id)
    path = sorted(folder.glob("*.seg"))[0]
    sound = path.read_bytes()
    data = bytearray(sound)
    data[rows_at(data).start + 300_000] ^= 4  # of the first buffer, that of the hashes
    replace(path, data)
    with gridflow.connect(grid.home, read_only=True) as reader:
        rows = gridflow.Dataset("T", grid=reader, columns=["V"], batch_size=500)
        with pytest.raises(tf.errors.DataLossError, match=path.name):
            list(rows)
        found = np.concatenate([element["val"]["V"].numpy() for element in rows.ignore_errors()])
        assert 50_000 < len(found) < 200_000 and len(set(found.tolist())) == len(found)
    replace(path, sound)
