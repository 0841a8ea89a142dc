# make quickstart   a model of your own that answers from facts, in minutes, from an empty clone
# make test         everything that every change must pass
# make ladder       how far the NumPy twin and PyTorch are apart, rung by rung
# make mutation     seeded bugs, one at a time: the tests must notice every one
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3

.PHONY: quickstart test lint slow ladder mutation setup clean

quickstart: $(STAMP)
	$(BIN)/gz quickstart

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "slow and not gpu"

ladder: $(STAMP)
	$(BIN)/python -m tests.reference.ladder

mutation: $(STAMP)
	$(BIN)/python -m tests.mutation

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): PyTorch and the rest, about 400 MB to fetch, a minute on a fast line."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# PyTorch first and by its exact version: a range would bring in the CUDA build and its gigabytes.
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
