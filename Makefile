# All that a developer or CI types. Needs python3 (3.10 to 3.13, with its headers), g++ and make;
# `make test` and `make demo` fetch everything else from the package index into .venv.
#
#   make test PYTHON=python3.12        another interpreter
#   make test VENV=/path/to/venv       another environment, made if absent

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.gridflow-installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# --- environment and build -------------------------------------------------------------------------

.PHONY: venv
venv: $(STAMP)  ## make the environment: once, and again when pyproject.toml changes

# The package is built without isolation, against the TensorFlow that it will run with.
BUILD_REQUIRES = import ast, re; text = open("pyproject.toml").read(); \
	print(*ast.literal_eval(re.search("(?m)^requires = (.*)", text)[1]), sep="\n")

$(STAMP): pyproject.toml
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
	  echo "error: '$(PYTHON) -m venv' does not work here: install it (Debian: apt install python3-venv)," \
	    "or name another interpreter, as in: make venv PYTHON=python3.12" >&2; exit 1; }
	$(PY) -m pip install -q --upgrade pip
	@mkdir -p build
	$(PY) -c '$(BUILD_REQUIRES)' > build/requires.txt
	$(PY) -m pip install -q --upgrade -r build/requires.txt
	$(PY) -m pip install -q --no-build-isolation -e '.[test,lint,demo,bench]'
	@touch $@

.PHONY: build
build: $(STAMP)  ## compile what has changed, in place
	@$(PY) setup.py -q build_ext --inplace

# --- what to run -----------------------------------------------------------------------------------

.PHONY: demo
demo: build  ## run examples/demo.py
	$(PY) examples/demo.py

.PHONY: test
test: build  ## run the tests, but for the long ones
	$(PY) -m pytest tests -q -m 'not long'

.PHONY: test-long
test-long: build  ## run all tests
	$(PY) -m pytest tests -q

.PHONY: test-gpu
test-gpu: build  ## run the tests that need a GPU, some under compute-sanitizer if it is there, and benchmarks/gpu.py
	$(PY) -m pytest tests/gpu -q
	@if command -v compute-sanitizer > /dev/null; then \
	  for tool in memcheck racecheck; do \
	    compute-sanitizer --tool $$tool --error-exitcode 1 $(PY) -m pytest tests/gpu/test_gpu_small.py -q || exit 1; \
	  done; \
	else echo "skipped: compute-sanitizer, which CUDA's toolkit has, is not there"; fi
	$(PY) benchmarks/gpu.py

.PHONY: lint
lint: build lint-threads lint-security  ## ruff, clang's look at the locks, bandit, pip-audit, and the tests of the sources: types (mypy, and pyright on a user's program), who imports whom, the public names
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest tests/test_sourcecode.py tests/typed -q -rs

# Whether what a lock guards (GF_GUARDED_BY and the others of kernels/core/thread_annotations.h) is touched with it. All of
# core and cuda; of the ops, whose headers take long, what has locks.
CLANGXX      ?= clang++
CLANG_FLAGS  := -std=c++17 -Ikernels -Ikernels/include -Wthread-safety -Werror=thread-safety -fsyntax-only
LOCK_SOURCES := $(wildcard kernels/core/*.cc kernels/cuda/*.cc)
OPS_SOURCES   = $(shell grep -lE 'Mutex|core/mutex.h|ops/(kept_snapshot|workers).h' kernels/ops/*.cc)
TF_FLAGS      = $(shell $(PY) -c 'import json, shlex; flags = json.load(open("build/tensorflow_flags.json"))["flags"][0]; \
	print(shlex.join("-isystem" + flag[2:] if flag.startswith("-I") else flag for flag in flags))' 2> /dev/null)

.PHONY: lint-threads
lint-threads:
	@if command -v $(CLANGXX) > /dev/null; then \
	  for source in $(LOCK_SOURCES); do $(CLANGXX) $(CLANG_FLAGS) $$source || exit 1; done; \
	  if [ -n "$(TF_FLAGS)" ]; then \
	    for source in $(OPS_SOURCES); do \
	      $(CLANGXX) $(CLANG_FLAGS) $(TF_FLAGS) -w -Wthread-safety $$source || exit 1; done; \
	  else echo "skipped: the locks of kernels/ops, whose headers TensorFlow has, which is not there"; fi; \
	else echo "skipped: clang's look at the locks; it is not there (Debian: apt install clang)"; fi

# bandit's rules that are left out stand in pyproject.toml, with reasons. pip-audit asks the package index.
.PHONY: lint-security
lint-security: $(STAMP)
	$(PY) -m bandit -q -r gridflow setup.py -c pyproject.toml
	@$(PY) tests/audit.py

.PHONY: reference
reference: build  ## make docs/reference.md of the docstrings
	$(PY) tools/reference.py

.PHONY: bench
bench: build  ## run every script of benchmarks/ whose name has no leading underscore
	@set -e; for script in $(sort $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))); do \
	  echo "== $$script"; $(PY) $$script; done

# --- core by itself, plain and under the sanitizers --------------------------------------------------
# Each tests/native/NAME.cc is a program with a main(), linked with kernels/core. GF_DCHECK is on. fuzz.cc goes on for
# GRIDFLOW_FUZZ_SECONDS=n and says what seed it begins with; it wraps mmap to see reads past the end of a file.

NATIVE_FLAGS    := -std=c++17 -pthread -Wall -Wextra -Ikernels -Ikernels/include -Itests
ASAN_FLAGS      := $(NATIVE_FLAGS) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
NATIVE_SOURCES  := $(sort $(wildcard tests/native/*.cc))
CORE_SOURCES    := $(sort $(wildcard kernels/core/*.cc))
ASAN_PROGRAMS   := $(NATIVE_SOURCES:%.cc=build/asan/%)
NATIVE_PROGRAMS := $(NATIVE_SOURCES:%.cc=build/native/%)

TSAN_FLAGS      := $(NATIVE_FLAGS) -O1 -g -fsanitize=thread
TSAN_PROGRAMS   := $(filter-out build/tsan/tests/native/fuzz,$(NATIVE_SOURCES:%.cc=build/tsan/%))

.PHONY: asan asan-programs tsan tsan-programs native native-programs
asan: asan-programs  ## run tests/native with the address and undefined-behaviour sanitizers
	@set -e; for program in $(ASAN_PROGRAMS); do echo "== $$program"; $$program; done
asan-programs: $(ASAN_PROGRAMS)

tsan: tsan-programs  ## run tests/native with the thread sanitizer, but for fuzz.cc, which has one thread
	@set -e; for program in $(TSAN_PROGRAMS); do echo "== $$program"; $$program; done
tsan-programs: $(TSAN_PROGRAMS)

native: native-programs  ## run tests/native without them: quick to build
	@set -e; for program in $(NATIVE_PROGRAMS); do echo "== $$program"; $$program; done
native-programs: $(NATIVE_PROGRAMS)

build/asan/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(CXX) $(ASAN_FLAGS) $(CXXFLAGS) -MMD -c $< -o $@

build/tsan/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(CXX) $(TSAN_FLAGS) $(CXXFLAGS) -MMD -c $< -o $@

build/native/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(CXX) $(NATIVE_FLAGS) -g1 $(CXXFLAGS) -MMD -c $< -o $@

build/asan/tests/native/fuzz: private LDFLAGS += -Wl,--wrap=mmap,--wrap=munmap
build/native/tests/native/fuzz: private LDFLAGS += -Wl,--wrap=mmap,--wrap=munmap

$(ASAN_PROGRAMS): build/asan/%: build/asan/%.o $(CORE_SOURCES:%.cc=build/asan/%.o)
	$(CXX) $(ASAN_FLAGS) $(CXXFLAGS) $^ -o $@ $(LDFLAGS)

$(TSAN_PROGRAMS): build/tsan/%: build/tsan/%.o $(CORE_SOURCES:%.cc=build/tsan/%.o)
	$(CXX) $(TSAN_FLAGS) $(CXXFLAGS) $^ -o $@ $(LDFLAGS)

$(NATIVE_PROGRAMS): build/native/%: build/native/%.o $(CORE_SOURCES:%.cc=build/native/%.o)
	$(CXX) $(NATIVE_FLAGS) $(CXXFLAGS) $^ -o $@ $(LDFLAGS)

# The unit tests with core and the Cython modules under the sanitizers, in a copy of the tree: without kernels/ops, whose
# tests need TensorFlow, which is not built for it. Nothing of Python's own is looked at for leaks.
ASAN_PYTHON := build/asan-python
ASAN_TREE   := gridflow cython kernels tests benchmarks examples docs setup.py pyproject.toml README.md CHANGELOG.md Makefile

.PHONY: asan-python
asan-python: build  ## run tests/unit and tests/sql with the compiled modules under those sanitizers
	@mkdir -p $(ASAN_PYTHON)
	tar -cf - --exclude='*.so' --exclude='kernels/ops/*.cc' --exclude=__pycache__ $(ASAN_TREE) | tar -xf - -C $(ASAN_PYTHON)
	cd $(ASAN_PYTHON) && LDFLAGS="-fsanitize=address,undefined" CXXFLAGS="-O1 -g -fno-omit-frame-pointer \
	  -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -U_FORTIFY_SOURCE" \
	  $(abspath $(PY)) setup.py -q build_ext --inplace
	cd $(ASAN_PYTHON) && LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYTHONPATH=. \
	  $(abspath $(PY)) -m pytest tests/unit tests/sql -q -m 'not long' $(ASAN_PYTHON_TESTS)

# Each tests/native/libfuzzer/NAME.cc is a target of libFuzzer's, which clang has. What it has learnt stays in
# build/fuzz/corpus; an input that fails lies beside that then, and is the program's argument to see it again.
FUZZ_SECONDS  ?= 60
FUZZ_FLAGS    := -std=c++17 -pthread -Wall -Ikernels -Ikernels/include -Itests -O1 -g -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_PROGRAMS := $(patsubst tests/native/libfuzzer/%.cc,build/fuzz/%,$(sort $(wildcard tests/native/libfuzzer/*.cc)))

.PHONY: fuzz fuzz-programs
fuzz:  ## run libFuzzer on what reads the files of a grid, FUZZ_SECONDS=n each
	@if command -v $(CLANGXX) > /dev/null; then \
	  $(MAKE) --no-print-directory fuzz-programs && set -e && for program in $(FUZZ_PROGRAMS); do \
	    echo "== $$program"; corpus=build/fuzz/corpus/$$(basename $$program); mkdir -p $$corpus; \
	    $$program --seeds=$$corpus; \
	    $$program -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$$corpus- -print_final_stats=1 -print_funcs=0 -verbosity=0 $$corpus; \
	  done; \
	else echo "skipped: libFuzzer, which clang has; it is not there (Debian: apt install clang)"; fi
fuzz-programs: $(FUZZ_PROGRAMS)

build/fuzz/obj/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(CLANGXX) $(FUZZ_FLAGS) -MMD -c $< -o $@

$(FUZZ_PROGRAMS): build/fuzz/%: build/fuzz/obj/tests/native/libfuzzer/%.o $(CORE_SOURCES:%.cc=build/fuzz/obj/%.o)
	$(CLANGXX) $(FUZZ_FLAGS) -fsanitize=fuzzer $^ -o $@

.SECONDARY:
-include $(foreach flavour,asan tsan native,$(patsubst %.cc,build/$(flavour)/%.d,$(NATIVE_SOURCES) $(CORE_SOURCES)))
-include $(FUZZ_PROGRAMS:build/fuzz/%=build/fuzz/obj/tests/native/libfuzzer/%.d) $(CORE_SOURCES:%.cc=build/fuzz/obj/%.d)

# ---------------------------------------------------------------------------------------------------

.PHONY: clean
clean:  ## remove what was built, but not the environment
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find gridflow -name '*.so' -delete
	find gridflow tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
