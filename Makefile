# `make demo` shows the main job on real input; `make test` runs every test. Both set up what they need.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test check bench security-lint security-scan mutation docs lock setup clean

help:
	@echo "make demo           sign, store, inspect and verify the report of a real test suite"
	@echo "make test           run all tests"
	@echo "make check          linters, formatting, types, import rules"
	@echo "make bench          measure speed and memory, write benchmarks/RESULTS.md"
	@echo "make security-scan  ruff's security rules and an audit of the pinned dependencies"
	@echo "make mutation       change the code in small ways and see which changes no test notices"
	@echo "make docs           write the reference pages from the code"
	@echo "make lock           pin the development dependencies anew"

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pytest-jux needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

setup: $(READY)

demo: $(READY)
	$(BIN)/python scripts/demo.py

test: $(READY)
	$(BIN)/python scripts/run_tests.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pytest_jux jux_server
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/reference.py --check

bench: $(READY)
	$(BIN)/python benchmarks/run.py

security-lint: $(READY)
	$(BIN)/ruff check --select S pytest_jux jux_server scripts

security-scan: security-lint
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/dev.txt

mutation: $(READY)
	-$(BIN)/mutmut run
	$(BIN)/mutmut results

docs: $(READY)
	$(BIN)/python scripts/reference.py

lock: $(READY)
	$(BIN)/python scripts/lock.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .cache demo-output mutants
