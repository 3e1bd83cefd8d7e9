# A handful of targets; each is one line of meaning. Variables: PYTHON (3.11+), VENV, TORCH_INDEX (another index for torch),
# PORT and SITE_PORT (of `make serve`), LONG=1 (of `make test`).
PYTHON ?= python3
VENV ?= .venv
PORT ?= 4200
SITE_PORT ?= 4201
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
# Every stage is a process of its own: without bytecode kept, each compiles this project first, half a second of it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo proof serve test lint chaos perf test-gpu install clean

help:  ## what can be done here
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## virtual environment with everything a developer needs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[dev]'
	touch $@

demo: install  ## the whole road on the embedded corpus, then scores, trace and the page to look at
	$(BIN)/mmada check
	$(BIN)/dvc repro
	$(BIN)/mmada summary

serve: install  ## Prefect server, UI, worker and deployments for this project, until Ctrl-C
	$(BIN)/python -m flows.serve --port $(PORT) --site-port $(SITE_PORT)

# Three at once, also on two cores: many tests wait for servers and processes.
test: install  ## the tests; LONG=1: also those that take minutes (the Prefect UI, kills of every stage, Ray)
	$(BIN)/python -m pytest -n 3 $(if $(LONG),,-m 'not gpu and not long')

lint: install  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-gpu: install  ## tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

perf: install  ## benchmarks beside their peers; ratios are printed and stored in perf/results
	$(BIN)/python -m perf

chaos: install  ## seeded kill runs, many more than in `make test`
	$(BIN)/python -m tests.chaos

proof: demo  ## does training in stages help? every stage beside a control, six seeds; about an hour on two cores
	$(BIN)/mmada proof

clean:  ## remove what the pipeline made (neither the DVC cache nor the provenance of what was made)
	rm -rf data/raw/demo $(addprefix data/,ingested benchmark_items text_tokenizer magvit codes facts selected gate shards models scores) reports site .mmada
