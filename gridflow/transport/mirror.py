"""The mirror: what has come of other grids' sealed files, in a folder that all processes of the machine share.

    <root>/<identity>/          looks like a grid's directory, 0700:
      mirror                      the grid's address; locked by whoever changes the folder
      catalog, control            as a grid's: of the tables that were asked for
      tables/<id>/manifest        as a grid's, and so are <version>.manifest and <id>.del
      tables/<id>/<id>.seg        sparse, with the sticky bit: blocks come when they are read
      tables/<id>/<id>.seg.map    which have come: mirror_format.h

So ``Snapshot``, ``Grid`` to read only and the datasets' op read it as any grid. Where they check a block that is not
there they wait for the process's fetcher, from which the threads here take their jobs: they ask the grid's ``Source``
for ranges, and hand the bytes over. A block is written down once its checksum matched. Of several processes the one
that claims a block fetches it; the others see it come.

``update`` has the folder follow the source: nothing else tells it of new versions.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .._native import mirror as native
from .._native.catalog import read_catalog, write_catalog
from ..errors import (
    GridConnectionError,
    GridCorruptError,
    GridEnvironmentError,
    GridflowError,
    GridFullError,
    GridNotFoundError,
    os_failure,
)
from ..storage.expected_files import CATALOG, LOG, TABLES, table_folder
from ..storage.mirrors import MARK, budget, bytes_on_disk, make_private, remove, root, trim, write_whole
from ..storage.versions import MANIFEST, Kept, is_manifest, manifest_name
from .source import Range, SealedFile, Source, Version

_log = logging.getLogger("gridflow")

#: Threads that fetch, in each process: so many requests are under way.
THREADS = 6
#: A segment of so many bytes comes whole; of a larger one its first bytes come with its checksums.
_WHOLE_BYTES, _HEAD_BYTES = 1 << 20, 64 << 10
_BLOCK_BYTES = 256 << 10
#: Seconds for which a source that cannot be reached is tried, and the first pause between two tries.
PATIENCE_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
#: So often a block is asked for whose bytes do not match their checksum.
_DAMAGED_TRIES = 3
#: The budget is looked at after so many bytes have come.
_LOOK_BYTES = 32 << 20

_lock = threading.Lock()  # guards what follows
_sources: dict[str, Source] = {}  # by the mirror's folder
_running = False  # whether threads fetch
_come = 0  # bytes since the budget was looked at
_opener: Callable[[str], Source] | None = None


def set_opener(opener: Callable[[str], Source]) -> None:
    """Have sources opened by ``opener``, given an address, where a process reads a mirror that another one has made."""
    global _opener
    _opener = opener


def mirrored(source: Source) -> Path:
    """The folder of a source's mirror, which is made if it is not there; from now on this process fetches from it.

    Raises:
        GridAccessError: the folder is not this user's own.
        GridFullError: there is no room.
        GridConnectionError: the source cannot be reached.
    """
    identity = source.identity()
    if len(identity) != 32 or not set(identity) <= set("0123456789abcdef"):
        raise GridCorruptError(
            f"{source.address} says that its identity is {identity[:40]!r}, which cannot be", None, None
        )
    top = root()
    if not os.environ.get("GRIDFLOW_MIRROR"):
        make_private(top.parent)
    else:
        top.parent.mkdir(parents=True, exist_ok=True)
    home = top / identity
    for folder in (top, home, home / TABLES, home / LOG):
        make_private(folder)
    with _changing(home) as mark:
        if not (home / CATALOG).exists():
            write_catalog(str(home), 1, 1, [], False)
        text = json.dumps({"address": source.address}).encode()
        if os.pread(mark, len(text) + 1, 0) != text:
            os.pwrite(mark, text, 0)
            os.ftruncate(mark, len(text))
    if not (home / "control").exists():
        native.announce(str(home))
    with _lock:
        _sources[str(home)] = source
    _begin()
    return home


@contextlib.contextmanager
def _changing(home: Path) -> Iterator[int]:
    """Keep other processes from changing a mirror's folder, for the block; its mark's descriptor."""
    try:
        fd = os.open(home / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise os_failure(error, f"cannot write to the mirror {home}", of_grid=True) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def source_of(home: Path) -> Source:
    """The source that a mirror is of.

    Raises:
        GridNotFoundError: there is no such mirror any more.
        GridConnectionError: the source cannot be reached.
    """
    with _lock:
        source = _sources.get(str(home))
    if source is not None:
        return source
    try:
        address = json.loads((home / MARK).read_bytes())["address"]
    except FileNotFoundError:
        raise GridNotFoundError(
            f"the mirror {home} was removed: open the grid by its address again", filename=str(home)
        ) from None
    except (ValueError, KeyError, TypeError):
        raise GridCorruptError(f"{home / MARK} is damaged: `gridflow mirror clear` begins anew", str(home), 0) from None
    if _opener is None:
        raise GridEnvironmentError(
            f"the mirror {home} is of {address}: open that with gridflow.connect in this process"
        )
    source = _opener(address)
    if source.identity() != home.name:
        raise GridConnectionError(f"{address} is another grid now than the one whose mirror {home} is: open it again")
    mirrored(source)
    return source


# ---- following the source ----


def update(home: Path, table: str, version: int | str | None = None) -> Version:
    """Have a mirror show a version of a table as the source has it now: the newest, or one that is kept.

    Raises:
        TableNotFoundError, VersionNotFoundError: the source has none.
        GridConnectionError: the source cannot be reached.
        GridCorruptError: a file is damaged at the source.
        GridFullError: there is no room.
    """
    source = source_of(home)
    _begin()
    found = source.version(table, version)
    folder = table_folder(home, found.table_id)
    while True:
        try:
            source.hold(found)
            break
        except GridNotFoundError:  # compacted away just now
            found = source.version(table, version)
    try:
        with _changing(home):
            make_private(folder)
            _bring_files(source, folder, found)
            changed = _enter(home, folder, found, newest=version is None)
    except BaseException:
        source.release(found)
        raise
    for old in _held_versions(home, found):
        source.release(old)
    if changed:
        native.announce(str(home))
    return found


#: The versions that this process has its sources hold: of each table the newest that it has seen, and those by number.
_held: dict[tuple[str, int], list[Version]] = {}
#: Iterators of older versions may still read; so many stay held.
_HELD_VERSIONS = 4


def _held_versions(home: Path, version: Version) -> list[Version]:
    """Note that a version is held; those that are let go of for it."""
    with _lock:
        held = _held.setdefault((str(home), version.table_id), [])
        same = [old for old in held if old.number == version.number]
        for old in same:
            held.remove(old)
        held.append(version)
        gone = [held.pop(0) for _ in range(max(0, len(held) - _HELD_VERSIONS))]
        return same + gone


def _bring_files(source: Source, folder: Path, version: Version) -> None:
    """Have each file of a version be in the mirror: deletions whole, of segments what says where their blocks lie."""
    missing = [file for file in version.files if not _is_there(folder / file.name, file)]
    for file in missing:
        path = folder / file.name
        if path.exists():  # of a grid that was restored, say: what has the name is another file
            remove(path)
    if len(missing) <= 1:
        for file in missing:
            _bring(source, folder, version.table_id, file)
        return
    with ThreadPoolExecutor(min(THREADS, len(missing))) as pool:
        for done in [pool.submit(_bring, source, folder, version.table_id, file) for file in missing]:
            done.result()


def _is_there(path: Path, file: SealedFile) -> bool:
    try:
        if native.fingerprint(str(path)) != (file.bytes, file.fingerprint):
            return False
        if file.name.endswith(".seg"):
            native.use_of(str(path))
        return True
    except (GridNotFoundError, GridCorruptError):
        return False


def _bring(source: Source, folder: Path, table_id: int, file: SealedFile) -> None:
    path = folder / file.name
    if not file.name.endswith(".seg"):
        temporary = path.with_name(path.name + ".tmp")
        for _ in range(_DAMAGED_TRIES):
            data = _read(source, table_id, file, [(0, file.bytes)])[0]
            if native.are_whole_deletions(data, file.fingerprint):
                write_whole(temporary, data)
                temporary.rename(path)
                return
        raise GridCorruptError(f"{file.name} is damaged at {source.address}", str(path), 0)
    head = file.bytes if file.bytes <= _WHOLE_BYTES else min(_HEAD_BYTES, file.bytes)
    tail = min(file.bytes, 4 * (file.bytes // _BLOCK_BYTES + 2))
    for attempt in range(_DAMAGED_TRIES):
        first, last = _read(source, table_id, file, [(0, head), (file.bytes - tail, file.bytes)])
        try:
            needed = native.create(str(path), file.bytes, file.fingerprint, first, last)
        except GridCorruptError as error:
            if attempt + 1 == _DAMAGED_TRIES:
                raise GridCorruptError(
                    f"{file.name} is damaged at {source.address}: {error}", error.file, error.offset
                ) from None
            continue
        if not needed:
            return
        head = needed


def _read(source: Source, table_id: int, file: SealedFile, ranges: Sequence[Range]) -> list[bytes]:
    """Ranges of a file, each whole; a source that cannot be reached is tried again."""
    for _ in _tries():
        parts = [bytearray() for _ in ranges]
        which = 0
        try:
            for begin, piece in source.read(table_id, file, ranges):
                while begin != ranges[which][0] + len(parts[which]):
                    which += 1
                parts[which] += memoryview(piece)
        except GridConnectionError:
            continue
        except IndexError:
            raise GridConnectionError(
                f"{source.address} sent other bytes of {file.name} than it was asked for"
            ) from None
        if all(len(part) == end - begin for part, (begin, end) in zip(parts, ranges, strict=True)):
            return [bytes(part) for part in parts]
    raise AssertionError("the last try raises")


def _tries() -> Iterator[int]:
    """So long as it is worth trying again what failed with a GridConnectionError; the last try lets it through."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, _FIRST_PAUSE
    count = 0
    while True:
        yield count
        count += 1
        if time.monotonic() + pause > deadline:
            raise GridConnectionError(f"the source did not answer within {PATIENCE_SECONDS:g} s")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _enter(home: Path, folder: Path, version: Version, *, newest: bool) -> bool:
    """Have readers see a version, whose files are there; whether anything has changed."""
    changed = False
    current = folder / MANIFEST
    names = [manifest_name(version.number)] if not newest else [MANIFEST]
    if not newest and not current.exists():  # of a table that was only asked for by version
        names.append(MANIFEST)
    for name in names:
        path = folder / name
        if not path.exists() or path.read_bytes() != version.manifest:
            temporary = path.with_name(path.name + ".tmp")
            write_whole(temporary, version.manifest)
            temporary.rename(path)
            changed = True
    entered = json.dumps(Kept(dict(version.tags)).joined(version.options), sort_keys=True)
    number, next_id, tables, _, _ = read_catalog(str(home))
    mine = (version.table_id, version.table, entered)
    others = [(id_, name, text) for id_, name, text, _ in tables if id_ != version.table_id and name != version.table]
    if [mine] != [(id_, name, text) for id_, name, text, _ in tables if (id_, name, text) == mine]:
        write_catalog(str(home), number + 1, max(next_id, version.table_id + 1), [*others, mine], False)
        changed = True
    if newest and changed:
        _sweep(folder, version)
    return changed


def _sweep(folder: Path, version: Version) -> None:
    """Remove the files that no manifest of a table names any more; who has them open keeps them."""
    names = {file.name for file in version.files} | {f"{file.name}.map" for file in version.files}
    for path in folder.iterdir():
        if is_manifest(path.name) and path.name != MANIFEST:
            return  # versions by number are read, too: all goes with `clear`, or by the budget
    for path in folder.iterdir():
        if path.suffix in (".seg", ".del", ".tmp") and path.name not in names:
            remove(path)


# ---- fetching ----


def _begin() -> None:
    global _running
    with _lock:
        if _running:
            return
        _running = True
    native.begin(THREADS)
    for number in range(THREADS):
        threading.Thread(target=_fetch_jobs, name=f"gridflow-mirror-{number}", daemon=True).start()


def _fetch_jobs() -> None:
    while (job := native.take()) is not None:
        try:
            _fetch(job)
        except BaseException as error:
            job.fail(error if isinstance(error, GridflowError) else GridEnvironmentError(f"cannot fetch: {error!r}"))
        del job  # it is done with


def _fetch(job: native.Job) -> None:
    path = Path(job.path)
    home, table_id = path.parent.parent.parent, int(path.parent.name)
    file = SealedFile(path.name, *job.file)
    source = source_of(home)
    pause, damaged = _FIRST_PAUSE, 0
    # Of all that wait for a source that has been given up on, one after the other would be patient else.
    gave_up = _gave_up.get(home, -PATIENCE_SECONDS)
    deadline = time.monotonic() + (PATIENCE_SECONDS if time.monotonic() - gave_up > PATIENCE_SECONDS else 0.0)
    while ranges := job.ranges():
        wanted = sum(end - begin for begin, end in ranges)
        _check_budget(home.parent, wanted)
        try:
            for begin, piece in source.read(table_id, file, ranges):
                job.deliver(begin, memoryview(piece).cast("B"))
        except GridConnectionError as error:
            if time.monotonic() + pause > deadline:
                _gave_up[home] = time.monotonic()
                raise GridConnectionError(
                    f"{file.name} of {source.address} does not come: {error}; the rows that have come are there, and "
                    "reading goes on when the source is back"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            job.take_damaged()
            continue
        except GridNotFoundError as error:
            raise GridNotFoundError(
                f"{file.name} of {source.address} is gone, as where its version was compacted away after the node was "
                f"started again: begin a new epoch, which reads the newest version ({error})"
            ) from None
        _gave_up.pop(home, None)
        at = job.take_damaged()
        if at is None:
            left = sum(end - begin for begin, end in job.ranges())
            if left == wanted:
                raise GridConnectionError(f"{source.address} sends no bytes of {file.name}")
            deadline = time.monotonic() + PATIENCE_SECONDS
            continue
        damaged += 1
        if damaged >= _DAMAGED_TRIES:
            raise GridCorruptError(
                f"{file.name} is damaged at {source.address}: the checksum of the block from byte {at} on does not "
                "match, however often it is asked for; run `gridflow check` there",
                str(path),
                at,
            )


#: When a source was given up on last, by the mirror's folder.
_gave_up: dict[Path, float] = {}


def _end() -> None:
    native.close()


def _forked() -> None:
    global _lock, _running
    _lock = threading.Lock()
    _running = False
    native.renew()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# ---- the budget ----


def _check_budget(top: Path, more: int) -> None:
    """Evict what was used longest ago, now and then, so that there is room for ``more`` bytes.

    Raises:
        GridFullError: all that is there is in use.
    """
    global _come
    limit = budget()
    if limit is None:
        return
    with _lock:
        _come += more
        if _come < min(_LOOK_BYTES, max(limit // 8, 1)):
            return
        _come = 0
    if not trim(top, limit - more):
        raise GridFullError(
            f"the mirror {top} has {bytes_on_disk(top)} bytes that are in use, and its budget is {limit}: give it more "
            "with `gridflow mirror limit` or $GRIDFLOW_MIRROR_BYTES, or read fewer columns or partitions"
        )
