# Every target makes the virtual environment and installs what is missing.
PYTHON ?= python3
# Of the tests: one more than two cores, since some wait for other processes, each with one thread of its own.
PROCESSES ?= 3
VENV := .venv
BIN := $(VENV)/bin
RESUME = $(if $(wildcard runs/ws/study.db),--resume)

.PHONY: search test lint docs bench clean

search: $(VENV)/installed
	$(BIN)/python -m nas.search experiments/ws.yaml $(RESUME)

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir site

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/graph_generation.py --quick
	$(BIN)/python benchmarks/sparse_layer.py --quick
	$(BIN)/python benchmarks/wide_network.py --quick
	$(BIN)/python benchmarks/planted_wiring.py --quick

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info
