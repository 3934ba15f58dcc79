"""Past versions of a table that are kept: which, as the catalog says it, and where their manifests are.

``kernels/core/kept_versions.h`` says what of a version stays, and in what order it comes and goes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._native.catalog import kept_files
from ..errors import UsageError, VersionNotFoundError, did_you_mean

#: The name under which a table's entry in the catalog has them, among its options.
OPTION = "SYS.VERSIONS"
#: The manifest of the current version.
MANIFEST = "manifest"
_KEPT_MANIFEST = re.compile(r"([0-9a-f]{16})\.manifest")


@dataclass(frozen=True)
class Kept:
    """Which versions of a table stay readable besides the current one.

    Attributes:
        tags: name -> version.
        last: how many versions without a tag stay before the current one.
    """

    tags: dict[str, int] = field(default_factory=dict)
    last: int = 0

    @staticmethod
    def split(options: Mapping[str, Any], changes: Mapping[str, int]) -> tuple[dict[str, Any], Kept]:
        """The options of an entry of the catalog without this one, and what this one says.

        Args:
            options: of the entry.
            changes: the tags that have changed since, with their versions; 0 for one that is gone.
        """
        rest = dict(options)
        said = rest.pop(OPTION, None) or {}
        tags = {**said.get("tags", {}), **changes}
        return rest, Kept({tag: version for tag, version in tags.items() if version}, said.get("last", 0))

    def joined(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Undo ``split``."""
        return {**options, **({OPTION: {"tags": dict(self.tags), "last": self.last}} if self else {})}

    def __bool__(self) -> bool:
        return bool(self.tags or self.last)

    def check_tag(self, table: str, name: str, version: int, move: bool) -> None:
        """Raise if a version cannot get a tag of that name.

        Raises:
            UsageError: it is there, of another version, and is not to ``move``; or it cannot be the name of one.
        """
        if not isinstance(name, str) or not name or name.isdecimal() or len(name) > 255:
            raise UsageError(f"{name!r} cannot be a tag: it must be a text of 1 to 255 characters, and no number")
        if not name.isprintable() or name != name.strip() or "," in name:  # lists of tags have commas
            raise UsageError(
                f"{name!r} cannot be a tag: it may have no commas, no blanks at its ends, and only characters that can "
                "be shown"
            )
        there = self.tags.get(name, version)
        if there != version and not move:
            raise UsageError(
                f"table {table} has a tag {name} already, of version {there}; tag({name!r}, replace=True) moves it"
            )

    def check_untag(self, table: str, name: str) -> None:
        """Raise if there is no tag of that name.

        Raises:
            VersionNotFoundError: there is none.
        """
        if name not in self.tags:
            raise VersionNotFoundError(
                f"table {table} has no tag {name}; {did_you_mean(str(name), self.tags)}", table=table
            )

    def with_last(self, count: int) -> Kept:
        """With so many versions before the current one.

        Raises:
            UsageError: that is no count.
        """
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 1 << 31:
            raise UsageError(f"keep_versions is a number of versions from 0, not {count!r}")
        return replace(self, last=count)


def manifest_name(version: int) -> str:
    """The name of the manifest of a version that is kept."""
    return f"{version:016x}.manifest"


def is_manifest(name: str) -> bool:
    """Whether a file of a table's folder is a manifest of whatever version."""
    return name == MANIFEST or _KEPT_MANIFEST.fullmatch(name) is not None


def kept_versions(folder: Path, kept: Kept, current: int) -> list[int]:
    """The versions that are kept and there, rising; the current one only if it has a tag."""
    if not kept:
        return []
    versions = [int(match[1], 16) for name in os.listdir(folder) if (match := _KEPT_MANIFEST.fullmatch(name))]
    tagged = set(kept.tags.values())
    others = sorted(version for version in versions if version < current and version not in tagged)
    return sorted({*tagged.intersection(versions), *others[max(0, len(others) - kept.last) :]})


def bytes_of(folder: Path, versions: Iterable[int], current: set[str]) -> int:
    """The bytes of the files that only past versions need; ``current`` are the names of the others."""
    names, _ = kept_files(str(folder), versions)
    size = 0
    for name in names - current:
        with contextlib.suppress(FileNotFoundError):
            size += (folder / name).stat().st_size
    return size


def describe(kept: Kept, versions: list[int]) -> str:
    """Words for the end of a message: the tags and versions that there are; the last version is the current one."""
    tags = ", ".join(f"{name} (version {version})" for name, version in sorted(kept.tags.items())) or "none"
    past = ", ".join(map(str, versions[:-1])) or "none"
    return f"its tags are {tags}, the past versions that are kept {past}, the current one is {versions[-1]}"
