# Every target does its own set-up; on a fresh machine with Python 3.11 to 3.13 nothing else is needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup run demo test lint check acceptance bench gpu-check catalog

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

setup: $(READY)

run: $(READY)
	$(BIN)/posneg serve

test: $(READY)
	$(BIN)/python -m pytest -m 'not gpu and not slow'

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

# Each prints PASS or its figure for one line of what must hold; larger inputs by POSNEG_TEST_DATA.
ACCEPTANCE := article goldens coco check bad_input training containers fresh_clone
acceptance: $(addprefix acceptance-,$(ACCEPTANCE))

acceptance-%: $(READY)
	$(BIN)/python -m benchmarks.acceptance.$*

bench: $(READY)
	$(BIN)/python -m benchmarks

demo: $(READY)
	$(BIN)/python -m benchmarks.demo

gpu-check: $(READY)
	$(BIN)/python -m pytest -m gpu

catalog: $(READY)
	$(BIN)/python -m posneg.service.catalog
	$(BIN)/python -m posneg.service.reference
