"""Builds what pyproject.toml cannot describe: the compiled modules and the TensorFlow op libraries.

    kernels/core/*.cc ── g++, ar ──> build/libcore.a, of which all below take what they use
    cython/NAME.pyx ── cython ──> NAME.cpp ── g++ ──> gridflow/_native/NAME.*.so
    kernels/ops/*.cc ── g++ ──> gridflow/tf/_gridflow_ops.so
    kernels/cuda/*.cc ── g++ ──> gridflow/cuda/_gridflow_cuda.so, which needs no CUDA until it is used

Files are found by globbing, so a new one needs no change here. Every arrow is one `Step`, which runs
only when its command line, its source or a header it includes has changed; see `Builder`.

    python setup.py -q build_ext --inplace     what `make build` runs; -j N sets how many run at once

The environment's CXX, CXXFLAGS, LDFLAGS and AR are honoured (nothing here is C, so CC is not used).
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError

ROOT = Path(__file__).resolve().parent
BUILD = Path("build")  # relative to ROOT, as all paths below: messages stay short and objects movable

# Libraries that are no Python modules: the folder of kernels/ that each is made of, and whether it is TensorFlow's. One
# without sources is not built.
LIBRARIES = {
    "gridflow.tf._gridflow_ops": ("ops", True),
    "gridflow.tf._gridflow_filesystem": ("filesystem", True),
    "gridflow.cuda._gridflow_cuda": ("cuda", False),
}

# One set of core objects serves the Cython modules and the ops, so all code shares these flags.
# No -march=native: wheels travel, and core marks the functions that use newer instructions.
# Not contracted: a product and a sum are two roundings, on every processor and on GPUs.
CXX_FLAGS = ["-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-pthread", "-ffp-contract=off"]
CXX_FLAGS += ["-Ikernels", "-Ikernels/include"]
# A buffer that is overrun ends the process, and does not go on in what somebody else has put there.
CXX_FLAGS += ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
# What the loader has filled in cannot be changed later, no stack can be executed, and only entry points are shown.
EXPORTS = Path("kernels/exports.map")
LINK_FLAGS = ["-Wl,-z,relro,-z,now,-z,noexecstack", f"-Wl,--version-script={EXPORTS}"]
# A switch over an enumeration has a case for each of its values, so a new one is not forgotten.
WARNINGS = ["-Wall", "-Wextra", "-Werror=switch"]


def glob(pattern: str) -> list[Path]:
    """The files of the source tree that match, in a fixed order."""
    return sorted(path.relative_to(ROOT) for path in ROOT.glob(pattern))


def digest(path: Path, memo: dict[Path, str]) -> str:
    """The hash of a file's content; each file is read once a build."""
    if path not in memo:
        memo[path] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return memo[path]


@dataclass
class Step:
    """One command that makes one file. `depfile`, if named, is a makefile rule that the command leaves
    behind: it lists what was read besides `inputs`."""

    label: str
    output: Path
    command: list[str]
    inputs: list[Path]
    depfile: Path | None = None
    context: list[str] = field(default_factory=list)  # what else the output depends on, such as versions

    @property
    def stamp(self) -> Path:
        return self.output.with_name(self.output.name + ".stamp")

    @property
    def key(self) -> list[str]:
        """Equal keys and equal inputs give equal outputs, whichever interpreter runs the command."""
        return self.context + [word for word in self.command if word != sys.executable]

    def is_fresh(self, memo: dict[Path, str]) -> bool:
        try:
            stamp = json.loads(self.stamp.read_text())
            return (
                self.output.exists()
                and stamp["key"] == self.key
                and stamp["inputs"].keys() >= {str(path) for path in self.inputs}
                and all(digest(Path(path), memo) == value for path, value in stamp["inputs"].items())
            )
        except (OSError, ValueError, KeyError):
            return False

    def run(self) -> bool:
        """Runs the command; prints what it says. True when it succeeded."""
        started = time.time()
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.unlink(missing_ok=True)
        self.output.unlink(missing_ok=True)  # ar would add to it
        launcher = [shutil.which("ccache")] if self.label == "CXX" and shutil.which("ccache") else []
        print(f"{self.label:6} {self.output}\n", end="", flush=True)  # one write: threads print too
        done = subprocess.run([*launcher, *self.command], capture_output=True, text=True)
        print(done.stdout + done.stderr, end="", flush=True)
        if done.returncode:
            print(f"failed: {shlex.join(self.command)}", flush=True)
            return False
        inputs = {*self.inputs, *self.read_depfile()}
        # A file that was edited while we read it may not be what the output was made of: leave no stamp.
        if all(path.stat().st_mtime < started for path in inputs):
            hashes = {str(path): digest(path, {}) for path in inputs}
            self.stamp.write_text(json.dumps({"key": self.key, "inputs": hashes}))
        return True

    def read_depfile(self) -> list[Path]:
        if self.depfile is None:
            return []
        words = self.depfile.read_text().replace("\\\n", " ").replace("\\ ", "\0").split()
        return [Path(word.replace("\0", " ")) for word in words[1:]]  # after "output:"


class Builder:
    """Runs steps in parallel, stage after stage. A failure does not stop the steps that do not need its
    output, so one broken source leaves the other modules usable."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.missing: set[Path] = set()  # outputs that could not be made
        self.broken: list[Path] = []  # the sources at fault

    def stage(self, steps: Iterable[Step]) -> None:
        memo: dict[Path, str] = {}
        ready = []
        for step in steps:
            if not self.missing.isdisjoint(step.inputs):
                self.missing.add(step.output)
            elif not step.is_fresh(memo):
                ready.append(step)
        with ThreadPoolExecutor(self.jobs) as pool:
            for step, succeeded in zip(ready, pool.map(Step.run, ready), strict=True):
                if not succeeded:
                    self.missing.add(step.output)
                    self.broken.append(step.output if step.label in ("AR", "LINK") else step.inputs[0])


class BuildError(BaseError):
    """The build cannot go on; the message says what to do."""


def environment(name: str, default: str = "") -> list[str]:
    """The words of an environment variable."""
    return shlex.split(os.environ.get(name) or default)


@functools.cache
def cxx_version() -> str:
    try:
        command = [*environment("CXX", "g++"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"no C++ compiler: {error}; install g++ or set CXX") from error


@functools.cache
def python_flags() -> list[str]:
    """Flags for the C++ that Cython writes."""
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        raise BuildError(f"no Python.h in {include}: install Python's headers (Debian: python3-dev)")
    import numpy  # comes with TensorFlow

    directories = [f"-isystem{include}", f"-isystem{numpy.get_include()}"]
    return [*directories, "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]


def tensorflow_flags() -> tuple[list[str], list[str], str]:
    """TensorFlow's flags to compile and to link with, and what tells this installation from another.
    Asking takes seconds, so the answer is kept until another TensorFlow is installed."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError("gridflow needs TensorFlow to build: run `pip install 'tensorflow~=2.21.0'` first")
    package = Path(next(iter(spec.submodule_search_locations)))
    library = (package / "libtensorflow_framework.so.2").stat()
    key = f"{package} {library.st_size} {library.st_mtime_ns}"
    cache = BUILD / "tensorflow_flags.json"
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("key") != key:
        ask = "import json, tensorflow as tf; c = tf.sysconfig\n"
        ask += "print(json.dumps([c.get_compile_flags(), c.get_link_flags()]))"
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        reply = subprocess.run([sys.executable, "-c", ask], env=quiet, capture_output=True, text=True)
        if reply.returncode:
            raise BuildError(f"gridflow needs a working TensorFlow to build:\n{reply.stderr}")
        known = {"key": key, "flags": json.loads(reply.stdout.splitlines()[-1])}
        cache.write_text(json.dumps(known))
    compile_flags, link_flags = known["flags"]
    # As a system directory its headers give no warnings and are not tracked one by one: `key` does that.
    compile_flags = [flag.replace("-I", "-isystem", 1) for flag in compile_flags if "-std=" not in flag]
    return compile_flags, link_flags, key


class GridflowBuild(build_ext):
    """build_ext over `Builder`. What a step makes stays under build/; setuptools is given copies."""

    def run(self) -> None:
        if not self.extensions:
            return
        os.chdir(ROOT)
        BUILD.mkdir(exist_ok=True)
        with open(BUILD / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two builds of one tree take turns
            self.builder = Builder(self.parallel or os.cpu_count() or 1)
            super().run()
        if self.builder.broken:
            raise BuildError("could not build " + ", ".join(map(str, self.builder.broken)))

    def build_extensions(self) -> None:
        tf_compile, tf_link, tf_key = tensorflow_flags()
        abi = [flag for flag in tf_compile if "_GLIBCXX_USE_CXX11_ABI" in flag]
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        # Whoever loads an op library has imported TensorFlow, whose libraries are loaded by then; the
        # rpath serves tools such as ldd, in an ordinary site-packages.
        ops_link = [*tf_link, "-l:libtensorflow_cc.so.2", "-Wl,--no-undefined"]
        ops_link += ["-Wl,-rpath,$ORIGIN/../../tensorflow"]

        objects_of_core = [self.compile_step(source, abi + WARNINGS) for source in glob("kernels/core/*.cc")]
        core = self.archive_step(BUILD / "libcore.a", objects_of_core)
        translated, compiled, linked = [], list(objects_of_core), []
        for extension in self.extensions:
            name = extension.name.rpartition(".")[2]
            if extension.name in LIBRARIES:
                flags, key, link_flags = abi, "", ["-ldl", "-Wl,--no-undefined"]
                if LIBRARIES[extension.name][1]:
                    flags, key, link_flags = tf_compile, tf_key, ops_link
                objects = [self.compile_step(Path(source), flags + WARNINGS, key) for source in extension.sources]
                library = BUILD / "linked" / f"{name}.so"
            else:
                translated.append(self.cython_step(Path(extension.sources[0]), extension.name))
                # Bytes from outside are core's. Here the only buffers on the stack are those within strings, and to
                # guard these would cost a tenth of a `get`.
                source, flags = translated[-1].output, [*abi, *python_flags(), "-w", "-fno-stack-protector"]
                objects = [self.compile_step(source, flags, tag=suffix.removesuffix(".so"))]
                library, link_flags = BUILD / "linked" / f"{name}{suffix}", []
            compiled += objects
            linked.append(self.link_step(library, [*objects, core], link_flags))

        compiled.sort(key=lambda step: "kernels/ops" not in str(step.output))  # the slowest go first
        for steps in (translated, compiled, [core], linked):
            self.builder.stage(steps)
        for extension, step in zip(self.extensions, linked, strict=True):
            if step.output not in self.builder.missing:
                replace_file(step.output, Path(self.get_ext_fullpath(extension.name)))

    def cython_step(self, source: Path, module: str) -> Step:
        # Cython looks for `gridflow._native.NAME`'s .pxd in a folder of that name: make cython/ that folder.
        package = BUILD / "cython" / "gridflow" / "_native"
        if not package.is_symlink():
            package.parent.mkdir(parents=True, exist_ok=True)
            package.symlink_to(Path("../../../cython"))
        output = BUILD / "cython" / f"{source.stem}.cpp"
        inputs = [path for path in (source, source.with_suffix(".pxd")) if path.exists()]
        command = [sys.executable, "-m", "cython", "-3", "--cplus", "--depfile", "--module-name", module]
        command += [f"-I{BUILD / 'cython'}", "-o", str(output), str(source)]
        depfile = output.with_name(output.name + ".dep")
        return Step("CYTHON", output, command, inputs, depfile, context=[metadata.version("Cython")])

    def compile_step(self, source: Path, flags: list[str], context: str = "", tag: str = "") -> Step:
        stem = source.relative_to(BUILD) if BUILD in source.parents else source
        output = BUILD / "obj" / stem.with_name(f"{stem.stem}{tag}.o")
        depfile = output.with_suffix(".d")
        command = [*environment("CXX", "g++"), *CXX_FLAGS, *flags, *environment("CXXFLAGS")]
        command += ["-MMD", "-MF", str(depfile), "-c", str(source), "-o", str(output)]
        return Step("CXX", output, command, [source, *embedded(source)], depfile, context=[cxx_version(), context])

    def archive_step(self, output: Path, objects: list[Step]) -> Step:
        inputs = [step.output for step in objects]
        command = [*environment("AR", "ar"), "rcD", str(output), *map(str, inputs)]  # D: the same from the same objects
        return Step("AR", output, command, inputs)

    def link_step(self, output: Path, parts: list[Step], flags: list[str]) -> Step:
        inputs = [step.output for step in parts]
        command = [*environment("CXX", "g++"), "-shared", "-pthread", "-o", str(output), *map(str, inputs)]
        command += [*LINK_FLAGS, *flags, *environment("LDFLAGS")]
        return Step("LINK", output, command, [*inputs, EXPORTS], context=[cxx_version()])

    def get_ext_filename(self, fullname: str) -> str:
        """Libraries are loaded by path, so their names carry no Python version."""
        if fullname.rpartition(".")[2] in {name.rpartition(".")[2] for name in LIBRARIES}:
            return fullname.replace(".", os.sep) + ".so"
        return super().get_ext_filename(fullname)

    def copy_extensions_to_source(self) -> None:
        """For in-place builds. Replaces by rename: a process that mapped the old file keeps it."""
        for extension in self.extensions:
            filename = self.get_ext_filename(extension.name)
            if Path(self.build_lib, filename).exists():
                replace_file(Path(self.build_lib, filename), ROOT / filename)


def embedded(source: Path) -> list[Path]:
    """What the assembler takes into a source as it is, which the compiler does not tell of."""
    if source.parent != Path("kernels/cuda"):
        return []
    return [Path("kernels", name) for name in re.findall(r'SOURCE\(\w+, "(.+)"\)', source.read_text())]


def replace_file(source: Path, target: Path) -> None:
    """Copies where the contents differ; the target is never seen half written."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    shutil.copy(source, temporary)
    os.replace(temporary, target)


def extensions() -> list[Extension]:
    found = [Extension(f"gridflow._native.{path.stem}", [str(path)]) for path in glob("cython/*.pyx")]
    for name, (folder, _) in LIBRARIES.items():
        sources = [str(path) for path in glob(f"kernels/{folder}/*.cc")]
        found += [Extension(name, sources)] if sources else []
    return found


setup(ext_modules=extensions(), cmdclass={"build_ext": GridflowBuild})
