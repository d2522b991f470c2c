# Two commands on a fresh machine: `make demo` and `make test`. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow coverage mutations lint bench docs install

demo: install
	$(BIN)/python scripts/demo.py

test: install
	$(BIN)/python -m pytest

slow: install
	.ci/slow

coverage: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'coverage>=7.6'
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses 0
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

mutations: install
	$(BIN)/python tests/mutations/run.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/speed.py --out benchmarks/results/speed.json

docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/zensical build --strict

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metarl_jax needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
