# Verbs of development; `make help` lists them. Every verb does its own set-up: a fresh clone needs nothing first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.PHONY: help setup demo check test test-fast sim bench bench-quick reference lock clean java

VENV := .venv
PY := $(VENV)/bin/python
# The first interpreter that is new enough; `make PYTHON=/path/to/python …` overrules it.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(PY) -m pip --disable-pip-version-check --quiet
export PYTHONHASHSEED := 0
# Most tests wait for something now and then (a session that ends, a process that starts), so a few share the cores.
TESTS_TOGETHER ?= 3

help: ## list these verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready-dev ## make .venv with everything that development needs

demo: $(VENV)/.ready ## watch durable workflows run to the end (needs Python alone)
	@$(PY) -m penstock demo

check: $(VENV)/.ready-dev ## style, types, commit subjects, imports, packaging and documents (about a minute)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pyright
	$(PY) -m tools.commit_subject
	$(PY) -m pytest -q -n $(TESTS_TOGETHER) -m "not broker" tests/test_architecture.py tests/test_packaging.py tests/test_docs.py tests/tools

# Tests marked `broker` or `slow` are left out (tests/conftest.py says which); `make test` runs them.
test-fast: $(VENV)/.ready-dev ## the tests of the inner loop: no broker, nothing slow (about a minute)
	$(PY) -m pytest -q -n $(TESTS_TOGETHER) -m "not broker and not slow"

test: java $(VENV)/.ready-dev ## every test, those on a real Kafka broker too (needs Java 17 and Maven)
	$(PY) -m pytest -q -n $(TESTS_TOGETHER)

# One seed: `make sim SEED=7`. Many: `make sim SEEDS=200`.
SEEDS ?= 200
sim: $(VENV)/.ready-dev ## run the simulator: SEEDS=200, or one SEED=7
	@$(PY) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

bench: java $(VENV)/.ready-dev ## measure 1, 100 and 10,000 workflows in flight on both logs
	@$(PY) -m bench

bench-quick: java $(VENV)/.ready-dev ## the same, small
	@$(PY) -m bench --quick

reference: $(VENV)/.ready-dev ## write docs/reference anew from the code
	@$(PY) -m tools.reference

lock: $(VENV)/.ready-dev ## write requirements.lock anew with today's versions
	@$(PY) tools/lock.py

clean: ## remove what was built and measured, keep .venv and .penstock
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# Without a broker most claims of this project would go untested, so a skipped broker is a failure, reported at once.
java:
	@if [ -n "$${PENSTOCK_TEST_KAFKA:-}" ]; then exit 0; fi; \
	command -v java >/dev/null || { echo "The tests start a real Kafka broker and need Java 17: install it (apt install openjdk-17-jre-headless maven), or name a running broker in PENSTOCK_TEST_KAFKA=host:port." >&2; exit 1; }; \
	java -version 2>&1 | grep -qE '"(1[7-9]|[2-9][0-9])' || { echo "Kafka needs Java 17 or later, and $$(command -v java) is older: install it (apt install openjdk-17-jre-headless), or name a running broker in PENSTOCK_TEST_KAFKA=host:port." >&2; exit 1; }; \
	[ -d .kafka/libs ] || command -v mvn >/dev/null || { echo "The tests fetch Kafka with Maven: install it (apt install maven), or name a running broker in PENSTOCK_TEST_KAFKA=host:port." >&2; exit 1; }

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Penstock needs Python 3.11 or later: install it (apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python cannot make virtual environments here: install the module (apt install python3-venv)." >&2; exit 1; }

# Stamps: the second time is instant. setuptools comes first, so that the build needs no isolated environment.
$(VENV)/.ready: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "installing what Penstock needs to run"
	@$(PIP) install -c requirements.lock 'setuptools>=77'
	@$(PIP) install -c requirements.lock --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "installing what development needs"
	@$(PIP) install -c requirements.lock 'setuptools>=77'
	@$(PIP) install -c requirements.lock --no-build-isolation -e '.[dev,examples]'
	@touch $@ $(VENV)/.ready
