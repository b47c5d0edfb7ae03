# `make` alone lists what there is; every target sets up .venv first when it is missing or out of date.
# PYTHON=python3.12 chooses the interpreter that .venv is made from; ARGS="..." is handed on to the command.
PYTHON ?= python3
ARGS ?=
PY := .venv/bin/python
STAMP := .venv/.nerfkit-ready

# threads that spin while they wait slow down everything else on a machine with few cores
TEST_ENV := OMP_WAIT_POLICY=PASSIVE
# on the CPU, also where there is a GPU: the interpreter is then compared with the same numbers everywhere
INTERPRETER_ENV := $(TEST_ENV) TRITON_INTERPRET=1 CUDA_VISIBLE_DEVICES= HIP_VISIBLE_DEVICES=

# compiling the loops keeps one core busy, and so does the interpreter; a file stays in one process, which compiles once
WORKERS ?= 2
PYTEST = $(PY) -m pytest -q -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint kernels bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 17

setup:  ## make .venv with everything in it; PYTHON=python3.12 chooses the interpreter
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) is not on PATH; install Python 3.11 to 3.14, or name yours: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) scripts/setup.py

$(STAMP): pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory setup

demo: $(STAMP)  ## make a small scene, train it, render a video, write a report (ARGS="--out DIR")
	@$(PY) -m nerfkit demo $(ARGS)

test: $(STAMP)  ## run the tests, the Triton kernels in the interpreter, and compile them for two GPUs
	@echo "== test 1/4: pytest"
	@$(TEST_ENV) $(PYTEST) $(ARGS)
	@echo "== test 2/4: examples in docstrings"
	@$(TEST_ENV) $(PY) -m pytest -q --doctest-modules --doctest-glob='*.md' nerfkit docs/kernels.md
	@if $(PY) -c 'import triton' 2>/dev/null; then $(MAKE) --no-print-directory test-triton; \
	else echo "== test 3/4, 4/4: left out, there is no Triton for this machine"; fi

.PHONY: test-triton
test-triton:
	@echo "== test 3/4: kernels in Triton's interpreter"
	@$(INTERPRETER_ENV) $(PYTEST) --no-skips -m triton tests/kernels
	@echo "== test 4/4: kernels compiled for cuda:90 and hip:gfx942"
	@$(PY) scripts/compile_kernels.py --quick --targets cuda:90 hip:gfx942
	@echo "== all tests passed"

lint: $(STAMP)  ## format, lint and type checks alone
	@echo "== check: ruff format"
	@$(PY) -m ruff format --check --quiet . || { echo "run: $(PY) -m ruff format ." >&2; exit 1; }
	@echo "== check: ruff"
	@$(PY) -m ruff check --quiet .
	@echo "== check: pyright"
	@$(PY) -m pyright --pythonpath $(PY)

check: lint test  ## what CI runs: lint, then test

kernels: $(STAMP)  ## compile the Triton kernels for every target, no GPU needed
	@$(PY) scripts/compile_kernels.py $(ARGS)

bench: $(STAMP)  ## run the benchmarks
	@for script in scripts/bench_*.py; do [ -e "$$script" ] || { echo "no scripts/bench_*.py yet"; break; }; \
	echo "== $$script"; $(PY) "$$script" $(ARGS) || exit 1; done

clean:  ## remove caches and build products; .venv and outputs/ stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	@find kernels scenes nerfkit scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
