"""What is compiled is hardened, and shows its entry points only: read off the libraries themselves (ELF, 64 bit)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import gridflow

PACKAGE = Path(gridflow.__file__).parent
LIBRARIES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.so"))

_LOAD, _DYNAMIC, _STACK, _RELRO = 1, 2, 0x6474E551, 0x6474E552
_EXECUTABLE = 1
_STRTAB, _SYMTAB, _TEXTREL, _FLAGS, _FLAGS_1, _GNU_HASH = 5, 6, 22, 30, 0x6FFFFFFB, 0x6FFFFEF5
_BIND_NOW, _NOW, _TEXTREL_FLAG = 8, 1, 4


@dataclass
class Elf:
    """What the loader reads of a library."""

    segments: dict[int, int] = field(default_factory=dict)  # type of a program header -> its flags
    dynamic: dict[int, int] = field(default_factory=dict)  # tag -> value
    exported: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Elf:
        """The parts of a file that the tests below ask for."""
        data = path.read_bytes()
        assert data[:6] == b"\x7fELF\x02\x01", f"{path} is no little-endian ELF file of 64 bits"
        result = cls()
        headers, sections, size, count, section_size, section_count = struct.unpack_from("<32xQQ6xHHHH", data)
        for i in range(count):
            kind, flags, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, headers + i * size)
            result.segments[kind] = flags
            if kind == _DYNAMIC:
                pairs = struct.iter_unpack("<QQ", data[offset : offset + length])
                result.dynamic = {tag: value for tag, value in pairs if tag}
        for i in range(section_count):
            kind, _, _, offset, length, link = struct.unpack_from("<4xIQQQQI", data, sections + i * section_size)
            if kind == 11:  # .dynsym
                names = struct.unpack_from("<24xQ", data, sections + link * section_size)[0]
                for name, info, _, place in struct.iter_unpack("<IBBH16x", data[offset : offset + length]):
                    text = data[names + name : data.index(b"\0", names + name)].decode()
                    if info >> 4 and text:  # not local
                        (result.exported if place else result.imported).add(text)
        return result


@pytest.fixture(scope="module", params=LIBRARIES, ids=str)
def library(request) -> tuple[Path, Elf]:
    return request.param, Elf.read(PACKAGE / request.param)


def test_what_the_loader_fills_in_is_read_only_then(library):
    _, elf = library
    assert _RELRO in elf.segments
    assert elf.dynamic.get(_FLAGS, 0) & _BIND_NOW or elf.dynamic.get(_FLAGS_1, 0) & _NOW


def test_no_stack_is_executable_and_no_code_writable(library):
    _, elf = library
    assert not elf.segments[_STACK] & _EXECUTABLE
    assert _TEXTREL not in elf.dynamic and not elf.dynamic.get(_FLAGS, 0) & _TEXTREL_FLAG


def test_only_entry_points_are_exported(library):
    path, elf = library
    if path.parent.name == "_native":
        assert elf.exported == {f"PyInit_{path.name.split('.')[0]}"}
    else:
        prefix = {"_gridflow_ops.so": "gridflow_ops_", "_gridflow_cuda.so": "gf_cuda_"}[path.name]
        assert elf.exported and {name for name in elf.exported if not name.startswith(prefix)} == set()


def test_buffers_are_guarded():
    """Code that takes bytes from outside guards its stack, and calls that copy check their room where it is known."""
    imports = {path: Elf.read(PACKAGE / path).imported for path in LIBRARIES}
    readers = [path for path in LIBRARIES if path.name.split(".")[0] in ("_gridflow_ops", "_gridflow_cuda", "store")]
    assert len(readers) == 3
    assert [path for path in readers if "__stack_chk_fail" not in imports[path]] == []
    assert any(name.startswith("__") and name.endswith("_chk") for names in imports.values() for name in names)
