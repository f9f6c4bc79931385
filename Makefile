# Every target makes what it needs; nothing has to be activated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
READY := $(VENV)/.ready

.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

figures: $(READY) ## train at CPU scale on embedded data and draw the core figures into figures/ (5 to 13 minutes on 2 cores)
	$(BIN)/ncrun figures

test: $(READY) ## the whole test suite except what is marked slow or gpu
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-slurm: $(READY) ## sweeps on a real Slurm of one node, which is started here: as root, with Debian's packages (5 minutes)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/cluster

check: $(READY) ## lint, format, types, and who imports whom
	@! git grep -nE '^(<<<<<<<|>>>>>>>) '
	@! git ls-files 'tests/*.py' | xargs -n1 basename | sort | uniq -d | grep . # pytest takes one for the other
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/write_docs.py --check
	$(BIN)/python scripts/write_results.py --check

smoke: $(READY) ## one tiny training run, its prediction and its picture (half a minute)
	$(BIN)/python scripts/smoke.py

verify: $(READY) ## theory against numerical optimisation, metrics against a slow reference; prints the errors (3 minutes)
	$(BIN)/python scripts/verify_theory.py
	$(BIN)/python scripts/verify_metrics.py

torture: $(READY) ## 1,000 times trainings killed, starved, damaged, doubled, put to sleep, compared bit by bit; malformed input; a Slurm whose node dies (20 minutes on 2 cores)
	$(BIN)/python scripts/torture.py
	NCRUN_FUZZ=10 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/fuzz
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/cluster

bench: $(READY) ## speed: ncrun against the released procedure and the machine's limit, into results/bench/ (5 minutes on 2 quiet cores)
	GOMP_SPINCOUNT=1000 $(BIN)/python scripts/bench.py # as ncrun sets it
	$(BIN)/python scripts/bench_scaling.py

gpu: $(READY) ## an hour on a GPU in order of worth: its tests, its speed, the papers' own scale, one archive (docs/gpu.md)
	$(BIN)/python scripts/gpu_hour.py

wheels: $(READY) ## into dist/wheels/ what a machine with PyTorch, but without a network, lacks (docs/gpu.md)
	$(BIN)/python scripts/collect_wheels.py

docs: $(READY) ## the site, into build/site/ (open index.html); a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site

wheel-test: $(READY) ## build wheel and source distribution; install and use the wheel under Python 3.11, 3.12 and 3.13 (10 minutes)
	$(BIN)/python scripts/wheel_test.py

coverage: $(READY) ## the suite with the share of lines that it runs, and its floor (15 minutes on 2 cores)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report=term:skip-covered

# A virtual environment, uv in it, and uv does the rest. Byte code is compiled at once: `ncrun theory` has to be instant.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"ncrun needs Python 3.11 to 3.13, and this is {v[0]}.{v[1]}; try: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraints constraints.txt --editable '.[dev]'
	touch $@

.PHONY: help figures test test-slurm check smoke verify torture bench gpu wheels wheel-test coverage docs
