# Development tasks; `make help` lists them. Every target creates what it needs, so a fresh clone needs no other step.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.PHONY: help setup demo check test test-fast chaos-quick mends sim bench bench-quick reference schemas lock clean java

VENV := .venv
PY := $(VENV)/bin/python
# The first interpreter that is new enough; `make PYTHON=/path/to/python …` overrides it.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(PY) -m pip --disable-pip-version-check --quiet
export PYTHONHASHSEED := 0
# Many tests wait (for a session to end, for a process to start), so several tests share the cores.
TESTS_TOGETHER ?= 3

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready-dev ## create .venv with all development dependencies

demo: $(VENV)/.ready ## run the example workflows to the end (needs only Python)
	@$(PY) -m penstock demo

check: $(VENV)/.ready-dev ## style, types, commit subjects, imports, packaging and documents (about a minute)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pyright
	$(PY) -m tools.commit_subject
	$(PY) -m pytest -q -n $(TESTS_TOGETHER) -m "not broker" tests/test_architecture.py tests/test_packaging.py tests/test_docs.py tests/tools

# Tests marked `broker` or `slow` are left out (tests/conftest.py says which); `make test` runs them.
test-fast: $(VENV)/.ready-dev ## the tests of the inner loop: no broker, nothing slow (one to two minutes)
	$(PY) -m pytest -q -n $(TESTS_TOGETHER) -m "not broker and not slow"

test: java $(VENV)/.ready-dev ## run every test, including those on a real Kafka broker (needs Java 17 and Maven)
	$(PY) -m pytest -q -n $(TESTS_TOGETHER)

chaos-quick: java $(VENV)/.ready-dev ## strike processors, workers and a broker with faults beside a neighbour workload
	@$(PY) -m tests.chaos

test-pythons: $(VENV)/.ready-dev ## the tests of core and execution on every Python 3.11 to 3.14 that is found here
	@$(PY) -m tools.pythons

# `make sim SEED=7` runs one seed, `make sim SEEDS=200` many.
SEEDS ?= 200
sim: $(VENV)/.ready-dev ## run the simulator: SEEDS=200, or one SEED=7
	@$(PY) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

bench: java $(VENV)/.ready-dev ## run the benchmark: 1, 100 and 10,000 workflows in flight on both logs
	@$(PY) -m bench

bench-quick: java $(VENV)/.ready-dev ## run a short version of the benchmark
	@$(PY) -m bench --quick

mends: $(VENV)/.ready-dev ## switch each mend off in turn and see its test fail (needs a clean tree)
	@$(PY) -m tools.mends

reference: $(VENV)/.ready-dev ## regenerate docs/reference from the code
	@$(PY) -m tools.reference

schemas: $(VENV)/.ready-dev ## regenerate schemas/avro from the record classes
	@$(PY) -m tools.avro

lock: $(VENV)/.ready-dev ## regenerate requirements.lock with current versions
	@$(PY) tools/lock.py

clean: ## remove build outputs and caches, keep .venv and .penstock
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# Many tests need a broker, so a missing one fails immediately instead of skipping them.
java:
	@if [ -n "$${PENSTOCK_TEST_KAFKA:-}" ]; then exit 0; fi; \
	command -v java >/dev/null || { echo "The tests start a Kafka broker and need Java 17: install it (apt install openjdk-17-jre-headless maven), or set PENSTOCK_TEST_KAFKA=host:port to a running broker." >&2; exit 1; }; \
	java -version 2>&1 | grep -qE '"(1[7-9]|[2-9][0-9])' || { echo "Kafka needs Java 17 or later, and $$(command -v java) is older: install it (apt install openjdk-17-jre-headless), or set PENSTOCK_TEST_KAFKA=host:port to a running broker." >&2; exit 1; }; \
	ls -d .kafka/libs-* >/dev/null 2>&1 || command -v mvn >/dev/null || { echo "The tests download Kafka with Maven: install it (apt install maven), or set PENSTOCK_TEST_KAFKA=host:port to a running broker." >&2; exit 1; }

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Penstock needs Python 3.11 or later: install it (apt install python3 python3-venv), or set the interpreter: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "This Python cannot create virtual environments: install the module venv (apt install python3-venv)." >&2; exit 1; }

# Stamp files make a repeated call a no-op. setuptools comes first: the build then needs no isolated environment.
$(VENV)/.ready: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "installing the dependencies of Penstock"
	@$(PIP) install -c requirements.lock 'setuptools>=77'
	@$(PIP) install -c requirements.lock --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "installing the development dependencies"
	@$(PIP) install -c requirements.lock 'setuptools>=77'
	@$(PIP) install -c requirements.lock --no-build-isolation -e '.[dev,examples]'
	@touch $@ $(VENV)/.ready
