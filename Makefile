# Everything a developer does, by name. `make` alone lists it. Needs only Python 3.11 or later, with its venv module.

VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
NODES ?= 5
MAKEFLAGS += --no-print-directory

# Commands are tried, not only looked for: a launcher of a version manager may stand in the path without that version.
find_python = for each in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	if $$each -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$each; break; fi; \
	done

.DEFAULT_GOAL := help
.PHONY: help setup run check test system sim chaos bench build clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.test ## Make .venv with MeshFlow and the tools to develop it (PYTHON=... chooses the Python)

run: $(VENV)/.plain ## Start a mesh on this machine and watch it work: `meshflow demo`
	@$(BIN)/meshflow demo

check: $(VENV)/.test ## Format, lint, types and house rules, without changing anything
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted; run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet --no-header tests/test_tidy.py

test: check ## Check, then run all tests; each run tells what was skipped, and why
	@$(BIN)/python -m pytest -n 2 -m "not system"
	@$(BIN)/python -m pytest -m system

system: $(VENV)/.test ## Run only the tests that start real processes, one after the other
	@$(BIN)/python -m pytest -m system

sim: $(VENV)/.plain ## Simulate a mesh under faults, the same for the same SEED= and NODES=
	@$(BIN)/python -m meshflow.sim --seed $(SEED) --nodes $(NODES)

chaos: $(VENV)/.plain ## Break a real mesh in every way, the same for the same SEED=, and check the runs (as root: all faults)
	@$(BIN)/meshflow chaos --seed $(SEED)

bench: $(VENV)/.plain ## Measure, print a table and write it as JSON
	@$(BIN)/python -m benchmarks

build: $(VENV)/bin/python ## Build the wheel into dist/
	@$(BIN)/python -m pip --disable-pip-version-check wheel -qq --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean: ## Remove .venv and all that was built or cached
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@python=$$($(find_python)); \
	if [ -z "$$python" ]; then \
		echo "no usable Python found: MeshFlow needs Python 3.11 or later with venv (on Debian: apt install python3-venv);" >&2; \
		echo "tried: $(or $(PYTHON),python3.13 python3.12 python3.11 python3); name yours with: make setup PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)

$(VENV)/.plain: setup.cfg pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -e .
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -e '.[test]'
	@touch $(VENV)/.plain $@
