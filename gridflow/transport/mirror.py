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
from pathlib import Path
from typing import NamedTuple

from .._native import mirror as native
from .._native.catalog import read_catalog, write_catalog
from ..errors import (
    GridAccessError,
    GridConnectionError,
    GridCorruptError,
    GridEnvironmentError,
    GridflowError,
    GridFullError,
    GridNotFoundError,
    os_failure,
)
from ..storage.expected_files import LOG, TABLES, table_folder
from ..storage.mirrors import MARK, budget, bytes_on_disk, is_mirror, make_private, remove, root, trim, write_whole
from ..storage.versions import MANIFEST, Kept, is_manifest, manifest_name
from .source import Range, SealedFile, Source, Version
from .threads import Threads

_log = logging.getLogger("gridflow")

#: Threads that fetch, in each process: so many requests are under way.
THREADS = 6
#: A segment of so many bytes comes whole; of a larger one its first bytes come with its checksums.
_WHOLE_BYTES, _HEAD_BYTES = 1 << 20, 64 << 10
_BLOCK_BYTES = 256 << 10
#: Seconds for which a source that cannot be reached is tried, and the first pause between two tries.
PATIENCE_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
#: Seconds that another process may keep a mirror's folder: it may be bringing files from a source that is slow.
LOCK_SECONDS = 60.0
#: So often a block is asked for whose bytes do not match their checksum.
_DAMAGED_TRIES = 3
#: The budget is looked at after so many bytes have come.
_LOOK_BYTES = 32 << 20

_lock = threading.Lock()  # guards what follows
_sources: dict[str, Source] = {}  # by the mirror's folder, the last that it was opened with
#: By the mirror's folder and a table's name or number: the sources that were asked for it, the last one at the end.
_asked: dict[tuple[str, str | int], list[Source]] = {}
_MOST_ASKED = 8
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
    home = root() / identity
    try:
        _make(home, source)
    except (GridflowError, OSError):
        if is_mirror(home):
            raise
        _make(home, source)  # it was cleared meanwhile
    with _lock:
        _sources[str(home)] = source
    begin()
    return home


def is_followed(home: Path) -> bool:
    """Whether a folder is a mirror that this process reads, or was one until it was cleared."""
    with _lock:
        return str(home) in _sources


def _make(home: Path, source: Source) -> None:
    top = home.parent
    if not os.environ.get("GRIDFLOW_MIRROR"):
        make_private(top.parent)
    else:
        top.parent.mkdir(parents=True, exist_ok=True)
    for folder in (top, home, home / TABLES, home / LOG):
        make_private(folder)
    with _changing(home) as mark:
        _tables_of(home)
        text = json.dumps({"address": source.address}).encode()
        if os.pread(mark, len(text) + 1, 0) != text:
            os.pwrite(mark, text, 0)
            os.ftruncate(mark, len(text))
    if not (home / "control").exists():
        native.announce(str(home))


def _tables_of(home: Path) -> tuple[int, int, list[tuple[int, str, str]]]:
    """The number of a mirror's catalog, the next table's, and its tables; one that is damaged begins anew."""
    try:
        number, next_id, tables, _, _ = read_catalog(str(home))
        return number, next_id, [(table_id, name, text) for table_id, name, text, _ in tables]
    except (GridCorruptError, GridNotFoundError):
        write_catalog(str(home), 1, 1, [], False)
        return 1, 1, []


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[int]:
    """Keep other processes from changing a mirror's folder, or that of one of its tables; its mark's descriptor.

    Raises:
        GridEnvironmentError: another process has kept it for too long.
    """
    fd = _locked(folder)
    try:
        yield fd
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # a child of a fork may have the descriptor, too
        os.close(fd)


def _locked(folder: Path) -> int:
    deadline, pause = time.monotonic() + LOCK_SECONDS, 0.001
    while True:
        try:
            fd = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise os_failure(error, f"cannot write to the mirror {folder}", of_grid=True) from None
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(folder / MARK)):  # else it was cleared meanwhile
                    stack.pop_all()
                    return fd
            except FileNotFoundError:
                continue
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise GridEnvironmentError(
                        f"the mirror {folder} has been kept by {_holder(fd)} for {LOCK_SECONDS:g} s: end it if it is "
                        "stuck, or set GRIDFLOW_MIRROR to another folder"
                    ) from None
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _holder(fd: int) -> str:
    """Who has a file locked, as far as the system says so."""
    info = os.fstat(fd)
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            part = line.split()
            if part[1:2] == ["FLOCK"] and part[5].rpartition(":")[2] == str(info.st_ino):
                return f"process {part[4]}"
    return "another process"


def source_of(home: Path, table: str | int | None = None) -> Source:
    """The source that a mirror is of; of several the one that was asked last for a table, given its name or number.

    Raises:
        GridNotFoundError: there is no such mirror any more.
        GridConnectionError: the source cannot be reached.
    """
    with _lock:
        source = _sources.get(str(home))
        if table is not None:
            source = _asked.get((str(home), table), [source])[-1]
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
        raise _other_grid(home, address)
    mirrored(source)
    return source


def _other_grid(home: Path, address: str) -> GridConnectionError:
    return GridConnectionError(
        f"another grid answers at {address} now, not the one whose mirror {home} is: connect again to read that one"
    )


# ---- following the source ----


def update(home: Path, table: str, version: int | str | None = None, source: Source | None = None) -> Version:
    """Have a mirror show a version of a table as the source has it now: the newest, or one that is kept.

    Args:
        home: the mirror; if it was cleared it is made again.
        table: its name.
        version: a kept one, by number or tag.
        source: that of who wants to read, and so whose rights count; None: the one that was asked last.

    Raises:
        TableNotFoundError, VersionNotFoundError: the source has none.
        GridAccessError: who asks may not read it.
        GridConnectionError: the source cannot be reached, or another grid is there now.
        GridCorruptError: a file is damaged at the source.
        GridFullError: there is no room.
    """
    if source is None:
        source = source_of(home, table)
    for tries in range(3):
        if not is_mirror(home) and mirrored(source) != home:
            raise _other_grid(home, source.address)
        try:
            return _follow(home, source, table, version)
        except (GridflowError, OSError):
            if tries == 2 or is_mirror(home):
                raise
    raise AssertionError("the last try raises")


def _follow(home: Path, source: Source, table: str, version: int | str | None) -> Version:
    begin()
    passed = 0  # the number that was in the mirror when the source was asked
    while True:
        found = _held_version(home, source, table, version)
        with _lock:
            keys: set[str | int] = {found.table_id, found.table, table}
            for key in keys:
                asked = [one for one in _asked.get((str(home), key), []) if one is not source]
                _asked[str(home), key] = [*asked[1 - _MOST_ASKED :], source]
        folder = table_folder(home, found.table_id)
        try:
            make_private(folder)
            with _changing(folder):
                _bring_files(source, folder, found)
                with _changing(home):
                    current = 0 if version is not None else _current_number(folder)
                    if current <= max(found.number, passed):
                        changed = _enter(home, folder, found, newest=version is None)
                        break
        except BaseException:
            source.release(found)
            raise
        # Somebody was faster, and has seen a newer one; a source that still has none was set back.
        source.release(found)
        passed = current
    for old in _held_versions(home, found, source):
        old.source.release(old.version)
    if changed:
        native.announce(str(home))
    return found


def _held_version(home: Path, source: Source, table: str, version: int | str | None) -> Version:
    """A version as the source has it, held there."""
    while True:
        found = source.version(table, version)
        if found.grid not in ("", home.name):
            raise _other_grid(home, source.address)
        try:
            source.hold(found)
            return found
        except GridNotFoundError:  # compacted away just now
            continue


def _current_number(folder: Path) -> int:
    """The number of the version that readers see; 0 if there is none."""
    try:
        with open(folder / MANIFEST, "rb") as file:
            data = file.read(_NUMBER.stop)
    except FileNotFoundError:
        return 0
    return int.from_bytes(data[_NUMBER], "little")


#: Where a manifest has its version: manifest_format.h.
_NUMBER = slice(40, 48)


class _Held(NamedTuple):
    version: Version
    source: Source


#: The versions that this process has its sources hold: of each table the newest that it has seen, and those by number.
_held: dict[tuple[str, int], list[_Held]] = {}
#: So many stay held though nobody has their segments open: readers may be about to open them.
_HELD_VERSIONS = 4


def _held_versions(home: Path, version: Version, source: Source) -> list[_Held]:
    """Note that a version is held; those that are let go of for it: nobody reads them."""
    folder = table_folder(home, version.table_id)
    with _lock:
        held = _held.setdefault((str(home), version.table_id), [])
        same = [old for old in held if old.version.number == version.number and old.source is source]
        others = [old for old in held if old not in same]
        old = others[: max(0, len(others) + 1 - _HELD_VERSIONS)]
        gone = [one for one in old if not any(_is_open(folder / file.name) for file in one.version.files)]
        held[:] = [*(one for one in others if one not in gone), _Held(version, source)]
        return same + gone


def _is_open(path: Path) -> bool:
    """Whether somebody has a segment of a mirror open."""
    try:
        return path.suffix == ".seg" and native.use_of(str(path))[3]
    except GridflowError:
        return False


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
    threads = Threads(min(THREADS, len(missing)), "gridflow-files")
    try:
        for done in [threads.submit(_bring, source, folder, version.table_id, file) for file in missing]:
            done.result()
    finally:
        threads.close()


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
    number, next_id, tables = _tables_of(home)
    mine = (version.table_id, version.table, entered)
    if mine not in tables or [name for _, name, _ in tables].count(version.table) > 1:
        others = [one for one in tables if one[0] != version.table_id and one[1] != version.table]
        write_catalog(str(home), number + 1, max(next_id, version.table_id + 1), [*others, mine], False)
        changed = True
    if newest and changed:
        _sweep(folder, version)
    return changed


def _sweep(folder: Path, version: Version) -> None:
    """Remove the files that no manifest of a table names any more, and nobody has open."""
    names = {file.name for file in version.files} | {f"{file.name}.map" for file in version.files}
    for path in folder.iterdir():
        if is_manifest(path.name) and path.name != MANIFEST:
            return  # versions by number are read, too: all goes with `clear`, or by the budget
    for path in folder.iterdir():
        if path.suffix in (".seg", ".del", ".tmp") and path.name not in names and not _is_open(path):
            remove(path)


# ---- fetching ----


def begin() -> None:
    """Have this process fetch, as a child of a fork does not of itself."""
    global _running
    with _lock:
        if _running:
            return
        _running = True
    native.begin(THREADS)
    for number in range(THREADS):
        try:
            threading.Thread(target=_fetch_jobs, name=f"gridflow-mirror-{number}", daemon=True).start()
        except RuntimeError:
            raise GridConnectionError("the process ends: nothing is fetched any more") from None


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
    source = source_of(home, table_id)
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
        except GridAccessError:
            other = _instead_of(home, table_id, source)
            if other is None:
                raise
            source = other
            job.take_damaged()
            continue
        except GridNotFoundError as error:
            raise GridNotFoundError(
                f"{file.name} of {source.address} is gone: its version was compacted away, and the node did not know "
                "that it was still read, as where it was started again or not heard from for a while: read the table "
                f"anew, a dataset in a new epoch, which gives the newest version ({error})"
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


def _instead_of(home: Path, table_id: int, refused: Source) -> Source | None:
    """Another source that was asked for a table, where one may not read it any more; None if there is none."""
    with _lock:
        left = [one for one in _asked.get((str(home), table_id), []) if one is not refused]
        if left:
            _asked[str(home), table_id] = left
        return left[-1] if left else None


#: When a source was given up on last, by the mirror's folder.
_gave_up: dict[Path, float] = {}


def _end() -> None:
    native.close()


def _forked() -> None:
    global _lock, _running
    _held.clear()  # the parent's, as the word that the sources have of them
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
