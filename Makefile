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
	$(PY) -m pip install -q --no-build-isolation -e '.[test,demo,bench]'
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

.PHONY: lint
lint: build  ## ruff, and the tests of the sources: who imports whom, the public names
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest tests/test_sourcecode.py -q

.PHONY: bench
bench: build  ## run every script of benchmarks/ whose name has no leading underscore
	@set -e; for script in $(sort $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))); do \
	  echo "== $$script"; $(PY) $$script; done

# --- core under the sanitizers ---------------------------------------------------------------------
# Each tests/native/NAME.cc is a program with a main(), linked with kernels/core. Asserts are on.

ASAN_FLAGS    := -std=c++17 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
                 -fno-sanitize-recover=all -pthread -Wall -Wextra -Ikernels -Ikernels/include
ASAN_CORE     := $(patsubst %.cc,build/asan/%.o,$(sort $(wildcard kernels/core/*.cc)))
ASAN_PROGRAMS := $(patsubst %.cc,build/asan/%,$(sort $(wildcard tests/native/*.cc)))

.PHONY: asan
asan: $(ASAN_PROGRAMS)  ## run tests/native with the address and undefined-behaviour sanitizers
	@set -e; for program in $^; do echo "== $$program"; $$program; done

build/asan/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(CXX) $(ASAN_FLAGS) $(CXXFLAGS) -MMD -c $< -o $@

$(ASAN_PROGRAMS): build/asan/%: build/asan/%.o $(ASAN_CORE)
	$(CXX) $(ASAN_FLAGS) $(CXXFLAGS) $^ -o $@ $(LDFLAGS)

.SECONDARY:
-include $(ASAN_CORE:.o=.d) $(ASAN_PROGRAMS:=.d)

# ---------------------------------------------------------------------------------------------------

.PHONY: clean
clean:  ## remove what was built, but not the environment
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find gridflow -name '*.so' -delete
	find gridflow tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
