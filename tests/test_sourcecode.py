"""The sources keep the project's rules: who imports whom, where TensorFlow may appear, the public names.

The rules are read off the files, so a test covers whatever exists and a new file is covered at once.
Each test gathers all violations and shows them together.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import gridflow

ROOT = Path(__file__).resolve().parent.parent

# What `gridflow.__all__` holds. To add a name is a decision: it is kept for users from then on.
PUBLIC_NAMES = """
    connect sample_from Grid Table Transaction Session Cache Schema Dataset Draw Follow Share Result
    GridflowError
        UsageError TableNotFoundError TableExistsError ColumnNotFoundError KeyNotFoundError VersionNotFoundError
            DuplicateKeyError SchemaError StructureError SqlError QueryTimeoutError GridClosedError
        TransactionConflictError
        GridEnvironmentError GridOwnedError TableBusyError GridFullError GridNotFoundError GridAccessError
            GridCorruptError GridVersionError GridConnectionError DeviceError
        InternalError
""".split()

# From the bottom up: a module may import from its own line and from those above it in this list.
LAYERS = [
    ["errors", "deprecation", "kinds", "schema", "config", "aside", "credentials"],
    ["_native"],
    ["faces"],
    ["storage"],
    ["catalog"],
    ["sql", "files"],
    ["contexts", "keyed", "table", "transaction", "cache", "session", "writer", "open_grid", "grid", "registry"],
    ["protocols"],
    ["transport"],
    ["client"],
    ["open", "stored_table"],
    ["cuda"],
    ["server", "cluster", "tf", "dbapi"],
    ["cli"],
]
# The same within gridflow/sql, by folder or file.
SQL_ROOMS = [
    "text",
    "result",
    "engine",
    "grammar",
    "views",
    "binding",
    "access",
    "execution",
    "export",
    "routing",
    "session",
    "implicit",
    "__init__",
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TOP = len(LAYERS) - 1
# These import what they need, and only the top layer may import them: gridflow itself is `__init__`.
UNRESTRICTED = {"__init__", "__main__", "compat", "testing"}

TENSORFLOW_MODULE = re.compile(r"(tensorflow|keras|tf_keras|tensorflow_\w+)(\.|$)")
MAY_IMPORT_TENSORFLOW = {"tf", "cli"}

# The same for C++, by folder of kernels/.
KERNEL_RANK = {"include": 0, "core": 1, "ops": 2, "filesystem": 2, "cuda": 2}
TENSORFLOW_HEADER = re.compile(r"(tensorflow|tsl|xla|absl|google/protobuf|Eigen|unsupported|third_party)/")
FOREIGN_HEADER = re.compile(r"(Python\.h|numpy/|arrow/)")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
MAGIC = re.compile(r"#define GF_\w+_MAGIC 0x([0-9A-Fa-f]+)")
CYTHON_EXTERN = re.compile(r'^[ \t]*cdef[ \t]+extern[ \t]+from[ \t]+"([^"\n]+)"', re.MULTILINE)
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[\w.]+)[ \t]+c?import[ \t]+\(?(?P<names>[^#\n]*)"
    r"|c?import[ \t]+(?P<modules>[^#\n]+))",
    re.MULTILINE,
)


@dataclass
class Import:
    """`module` is absolute. `at_load`: it happens when the importing module is imported."""

    path: Path
    line: int
    module: str
    at_load: bool = True

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"

    @property
    def importer(self) -> str:
        """The layer's name: that of the file or folder under gridflow/."""
        return "_native" if self.path.parts[0] == "cython" else self.path.with_suffix("").parts[1]

    @property
    def imported(self) -> str | None:
        """The layer that `module` belongs to; None when it is not ours."""
        package, *parts = self.module.split(".")
        if package != "gridflow":
            return None
        # A name that is no module is taken from gridflow/__init__.py.
        return parts[0] if parts and (parts[0] in RANK or parts[0] in UNRESTRICTED) else "__init__"


def files(*patterns: str) -> list[Path]:
    """The matching files of the source tree, relative to its root."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if "__pycache__" not in path.parts}
    return sorted(path.relative_to(ROOT) for path in found)


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def resolve(package: list[str], base: str, names: list[str]) -> list[str]:
    """The modules named by `from base import names` in `package`."""
    name = base.lstrip(".")
    dots = len(base) - len(name)
    parts = (package[: len(package) - dots + 1] if dots else []) + (name.split(".") if name else [])
    return [".".join([*parts, imported]) for imported in names] if parts == ["gridflow"] else [".".join(parts)]


def python_imports(path: Path) -> Iterator[Import]:
    package = list(path.parent.parts)

    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            modules = []
            if isinstance(child, ast.Import):
                modules = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                names = [alias.name for alias in child.names]
                modules = resolve(package, "." * child.level + (child.module or ""), names)
            elif isinstance(child, ast.Call) and child.args:
                name = getattr(child.func, "attr", getattr(child.func, "id", None))
                literal = getattr(child.args[0], "value", None)
                if name in ("import_module", "__import__") and isinstance(literal, str):
                    modules = resolve(package, literal, []) if literal.startswith(".") else [literal]
            yield from (Import(path, child.lineno, module, at_load) for module in modules)
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_for_checkers = isinstance(child, ast.If) and getattr(child.test, "id", None) == "TYPE_CHECKING"
            yield from visit(child, at_load and not is_function and not is_for_checkers)

    yield from visit(ast.parse(read(path)), at_load=True)


def cython_imports(path: Path) -> Iterator[Import]:
    text = read(path)
    for match in CYTHON_IMPORT.finditer(text):
        if match["base"]:
            names = [name.split()[0] for name in match["names"].strip(" ()").split(",") if name.split()]
            modules = resolve(["gridflow", "_native"], match["base"], names or ["__init__"])
        else:
            modules = [name.split()[0] for name in match["modules"].split(",")]
        line = text.count("\n", 0, match.start()) + 1
        yield from (Import(path, line, module) for module in modules)


def all_imports() -> list[Import]:
    found = [i for path in files("gridflow/**/*.py", "gridflow/**/*.pyi") for i in python_imports(path)]
    return found + [i for path in files("cython/*.pyx", "cython/*.pxd") for i in cython_imports(path)]


def includes(path: Path) -> Iterator[tuple[str, bool]]:
    """(header, whether it stands in quotes) of a C++ file."""
    for match in INCLUDE.finditer(read(path)):
        yield match[2], match[1] == '"'


def kernel_files() -> list[Path]:
    return files(*(f"kernels/**/*.{suffix}" for suffix in ("h", "cc", "c", "cu")))


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


# --- Python ---


def test_every_module_has_a_layer():
    names = {path.relative_to("gridflow").with_suffix("").parts[0] for path in files("gridflow/**/*.py")}
    unknown = names - RANK.keys() - UNRESTRICTED
    assert not unknown, f"give these a place in LAYERS: {sorted(unknown)}"


def test_nobody_imports_upward():
    def is_upward(found: Import) -> bool:
        return (
            found.imported is not None
            and found.importer not in UNRESTRICTED
            and RANK.get(found.imported, TOP) > RANK.get(found.importer, TOP)
        )

    wrong = [str(found) for found in all_imports() if is_upward(found)]
    assert not wrong, "\n".join(wrong)


def test_rooms_of_sql_do_not_import_upward():
    wrong = []
    for found in all_imports():
        if found.path.parts[:2] == ("gridflow", "sql") and found.module.startswith("gridflow.sql"):
            importer = found.path.with_suffix("").parts[2]
            imported = [*found.module.split("."), "__init__"][2]
            if SQL_ROOMS.index(imported) > SQL_ROOMS.index(importer):
                wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_only_the_engine_s_room_knows_duckdb():
    wrong = [str(found) for found in all_imports() if found.module.split(".")[0] == "duckdb"]
    wrong = [text for text in wrong if not text.startswith("gridflow/sql/engine/")]
    assert not wrong, "\n".join(wrong)


def module_of(path: Path) -> str:
    """The module that a file is."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_files(path: Path, modules: set[str]) -> Iterator[tuple[str, str]]:
    """(module of ours, text of the statement's lines) that a file imports, at load or within functions."""
    lines = read(path).splitlines()
    for node in ast.walk(ast.parse(read(path))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            (base,) = resolve(list(path.parent.parts), "." * node.level + (node.module or ""), [""])
            base = base.rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
            targets = [name if name in modules else base for name in names]
        text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        yield from ((target, text) for target in targets if target in modules)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The circles that a depth-first walk comes upon, each as the modules along it."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append(trail[trail.index(module) :])
        elif module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, [*trail, module])
            done.add(module)

    for module in sorted(edges):
        visit(module, [])
    return found


def test_files_do_not_import_each_other_in_circles():
    """Neither when they are loaded nor within functions; but where a comment ``# circle: why`` stands at an import."""
    paths = files("gridflow/**/*.py")
    modules = {module_of(path) for path in paths}
    edges: dict[str, set[str]] = {}
    marked = []
    for path in paths:
        module = module_of(path)
        for name, text in imported_files(path, modules - {module}):
            if "# circle: " in text:
                marked.append((module, name))
            else:
                edges.setdefault(module, set()).add(name)
    wrong = [" -> ".join([*circle, circle[0]]) for circle in circles(edges)]
    wrong += [
        f"{a} imports {b}: there is no circle" for a, b in marked if not circles(edges | {a: {*edges.get(a, ()), b}})
    ]
    assert not wrong, "\n".join(wrong)


def test_the_test_sees_circles():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def own_names(tree: ast.Module) -> set[str]:
    """What a file defines: functions, classes, variables, and attributes of ``self``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node: ast.expr) -> bool:
    is_super = isinstance(node, ast.Call) and getattr(node.func, "id", None) == "super"
    return is_super or (isinstance(node, ast.Name) and node.id in ("self", "cls"))


def test_nobody_uses_what_another_folder_keeps_to_itself():
    """The layers hold for calls, too: ``x._name``, where x is not self, only where a file of the same folder defines
    it, or ``faces.py`` or a stub declares it: what folders offer each other, and nobody else. What is somebody else's
    altogether (``os._exit``) is no part of the rule."""
    trees = {path: ast.parse(read(path)) for path in files("gridflow/**/*.py")}
    ours: dict[Path, set[str]] = {}
    for path, tree in trees.items():
        ours.setdefault(path.parent, set()).update(own_names(tree))
    declaring = [trees[Path("gridflow/faces.py")], *(ast.parse(read(p)) for p in files("gridflow/_native/*.pyi"))]
    everybodys = set().union(*ours.values()) - set().union(*map(own_names, declaring))
    wrong = [
        f"{path}:{node.lineno} {ast.unparse(node)}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not is_self(node.value)
        and node.attr in everybodys - ours[path.parent]
    ]
    assert not wrong, "\n".join(wrong)


def test_tensorflow_is_imported_only_where_it_may_be():
    """tf/ and cli/ alone, and cli/ only inside the command that needs it. `gridflow.tf` counts too, since
    importing it imports TensorFlow; gridflow/__init__.py may name it inside a function."""
    wrong = []
    for found in all_imports():
        if TENSORFLOW_MODULE.match(found.module):
            allowed = found.importer in MAY_IMPORT_TENSORFLOW
        elif found.imported == "tf":
            allowed = found.importer in MAY_IMPORT_TENSORFLOW | UNRESTRICTED
        else:
            continue
        if not allowed or (found.at_load and found.importer != "tf"):
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_importing_gridflow_does_not_import_tensorflow():
    modules = ["gridflow"] + (["gridflow.cli"] if files("gridflow/cli/__init__.py") else [])
    code = f"import sys, {', '.join(modules)}; sys.exit('tensorflow' in sys.modules)"
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr or f"{modules} import tensorflow"


def test_public_names():
    assert sorted(gridflow.__all__) == sorted(PUBLIC_NAMES)


def test_public_names_have_docstrings():
    public = {name: getattr(gridflow, name) for name in gridflow.__all__}
    documented = {name for name, value in public.items() if value.__doc__}
    assert not public.keys() - documented, "these have none"


# --- Cython and C++ ---


def test_cython_folder_is_no_package():
    """As a package named cython it would shadow Cython itself."""
    assert not files("cython/**/__init__.*")


def test_cython_uses_only_core():
    wrong = []
    for path in files("cython/*.pyx", "cython/*.pxd"):
        for header in CYTHON_EXTERN.findall(read(path)):
            if KERNEL_RANK.get(header.split("/")[0], 0) > KERNEL_RANK["core"] or TENSORFLOW_HEADER.match(header):
                wrong.append(f"{path} includes {header}")
    assert not wrong, "\n".join(wrong)


def test_kernels_do_not_include_upward():
    wrong = []
    for path in kernel_files():
        folder = path.parts[1]
        for header, _ in includes(path):
            if KERNEL_RANK.get(header.split("/")[0], 0) > KERNEL_RANK[folder]:
                wrong.append(f"{path} includes {header}")
    assert not wrong, "\n".join(wrong)


def test_tensorflow_headers_stay_above_core():
    wrong = []
    for path in kernel_files():
        may = KERNEL_RANK[path.parts[1]] > KERNEL_RANK["core"]
        for header, _ in includes(path):
            if FOREIGN_HEADER.match(header) or (TENSORFLOW_HEADER.match(header) and not may):
                wrong.append(f"{path} includes {header}")
    assert not wrong, "\n".join(wrong)


def test_our_headers_are_included_by_their_path():
    """As "core/name.h" or "gridflow/name.h", so that the rules above see which layer is meant."""
    wrong = []
    for path in kernel_files():
        for header, is_quoted in includes(path):
            ours = any((ROOT / folder / header).exists() for folder in ("kernels", "kernels/include"))
            if is_quoted and not ours and not TENSORFLOW_HEADER.match(header):
                wrong.append(f'{path} includes "{header}"')
    assert not wrong, "\n".join(wrong)


def test_contract_headers_are_plain_c():
    headers = [str(path) for path in files("kernels/include/gridflow/*.h")]
    compiler = os.environ.get("CC") or "gcc"
    for header in headers:
        flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
        done = run(*compiler.split(), *flags, "-fsyntax-only", "-Ikernels/include", "-x", "c", header)
        assert done.returncode == 0, done.stderr


def test_python_repeats_no_magic_of_a_header():
    """What a format is like stands in its header alone: Python asks ``_native.layout``."""
    magics = [int(m, 16) for path in files("kernels/include/**/*.h") for m in MAGIC.findall(read(path))]
    assert len(magics) > 5
    texts = [magic.to_bytes(8, "little")[:5].decode() for magic in magics]  # "GFSEG"
    wrong = []
    for path in files("gridflow/**/*.py"):
        source = read(path)
        wrong += [f"{path} has {text}" for text in texts if text in source]
        wrong += [f"{path} has {magic:#x}" for magic in magics if f"{magic:x}" in source.lower().replace("_", "")]
    assert not wrong, "\n".join(wrong)


# --- what is depended on ---


def test_dependencies_end_before_the_next_major():
    """What a major takes away would break an installation that was never tested; fsspec's numbers are dates."""
    block = re.search(r"(?ms)^dependencies = \[$(.*?)^\]$", read(ROOT / "pyproject.toml"))
    dependencies = re.findall(r'^ *"([^"]+)"', block[1], re.MULTILINE) if block else []
    assert len(dependencies) > 8
    assert [d for d in dependencies if "<" not in d and "~=" not in d] == ["fsspec>=2025.3"]


# --- all files ---


def test_ruff():
    folders = ("gridflow", "tests", "benchmarks", "examples", "tools", "setup.py")
    paths = [name for name in folders if (ROOT / name).exists()]
    for command in (["check"], ["format", "--check"]):
        done = run(sys.executable, "-m", "ruff", *command, *paths)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    tuple(map(int, np.__version__.split(".")[:2])) < (2, 3),
    reason="the types of numpy before 2.3, the last for Python 3.10, say less than mypy is to see",
)
def test_types():
    """mypy, as pyproject.toml has it."""
    done = run(sys.executable, "-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_machine_paths():
    """Nobody else has the folders of the machine that a file was written on."""
    machine_path = re.compile(rb"(?<![\w.$}])/(?:work|root|home)/")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    wrong = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            for number, line in enumerate(path.read_bytes().splitlines(), 1):
                if machine_path.search(line):
                    wrong.append(f"{name}:{number}: {line.strip().decode(errors='replace')}")
    assert not wrong, "\n".join(wrong)
