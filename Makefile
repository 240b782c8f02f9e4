# Everything is done by these; nothing has to be typed before them. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test check setup lint types contract light unit bench docs soak mutants clean packages

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
CONSTRAINTS ?= constraints-cpu.txt
TORCH ?= torch==2.13.0
# lite takes mmcv as a wheel, whose compiled operators nothing here calls; full compiles them.
MMCV ?= lite
# 1 leaves out what is for CPUs alone, and compiles CUDA operators where MMCV=full.
CUDA ?= 0
comma := ,
# The CPU wheel of spconv; with CUDA the wheel of one's CUDA version is installed by hand.
EXTRAS := train,dev$(if $(filter 0,$(CUDA)),$(comma)sparse)
PIP := $(PY) -m pip --disable-pip-version-check install -qq
JOBS ?= $(shell nproc)
# A process a core, each with one thread; the tests of a file stay together, and share what it trains.
# Tests start hundreds of processes, which would compile the package each time without kept bytecode.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Neither torch nor training, which tests/helpers/without_torch.py holds them to.
LIGHT := tests/config tests/files tests/store tests/statistics tests/report tests/sweep tests/test_import_contract.py

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: $(READY) ## Set up, make synthetic data, train the baseline (quick preset), print the table
	$(VENV)/bin/aqr-exp data synth
	$(VENV)/bin/aqr-exp run baseline
	$(VENV)/bin/aqr-exp table

check: lint types contract light ## Within a minute: lint, types, imports, and the tests without torch

test: lint types contract packages unit ## Set up, then lint, types, imports and every test but the slow campaigns

setup: $(READY) ## Virtual environment and dependencies; seconds when nothing changed

$(READY): pyproject.toml $(CONSTRAINTS)
	@echo "set-up 1/4: virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else f"aqr-exp needs Python 3.10 to 3.12, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@echo "set-up 2/4: $(TORCH)"
	@$(PIP) -c $(CONSTRAINTS) 'setuptools<81' '$(TORCH)' numpy
	@echo "set-up 3/4: mmdet3d, nuscenes-devkit and the rest"
	@$(PIP) -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
ifeq ($(MMCV),full)
	@echo "set-up: mmcv's operators (compiles 77 files: 8 minutes on 2 cores)"
	@start=$$SECONDS; while sleep 30; do echo "  mmcv: still compiling, $$((SECONDS - start)) s"; done & tick=$$!; \
	  trap 'kill $$tick 2>/dev/null || true' EXIT; \
	  $(PIP) -c $(CONSTRAINTS) wheel ninja psutil; \
	  $(PY) -m pip --disable-pip-version-check uninstall -qq -y mmcv-lite; \
	  MMCV_WITH_OPS=1 FORCE_CUDA=$(CUDA) MAX_JOBS=$(JOBS) $(PIP) --no-build-isolation --no-deps --force-reinstall mmcv==2.1.0
endif
	@echo "set-up 4/4: checking"
	@$(VENV)/bin/aqr-exp doctor
	@touch $(READY)

lint: $(READY) ## ruff: rules and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(READY) ## mypy, strict
	$(VENV)/bin/mypy

contract: $(READY) ## import-linter: imports point one way
	$(VENV)/bin/lint-imports --no-cache

# Tests bring up a cluster and open a browser of these, and are skipped where they cannot be installed.
packages: ## Debian's packages that tests need, Slurm and Chromium; as root only, and once
	@if ! { command -v slurmctld && command -v chromium; } >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "set-up: Slurm and Chromium, for the tests"; \
	  { timeout 300 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends slurm-wlm munge chromium; } >/dev/null 2>&1 \
	    || echo "they cannot be installed here: their tests are skipped"; \
	fi

light: $(READY) ## The tests that need no torch
	$(PYTEST) -m 'not slow and not broad' -p without_torch $(LIGHT)

unit: $(READY) ## Unit, integration, end-to-end and wheel tests
	$(PYTEST) -m 'not slow'

bench: $(READY) ## Benchmarks: ratios measured side by side in one run
	$(PY) benchmarks/command_line.py
	$(PY) benchmarks/attention.py
	$(PY) benchmarks/step.py
	$(PY) benchmarks/planning.py
	$(PY) benchmarks/orchestration.py
	$(PY) benchmarks/store.py
	$(PY) benchmarks/evaluate.py
	$(PY) benchmarks/inference.py

docs: $(READY) ## Build the documentation into site/
	$(VENV)/bin/mkdocs build --strict --quiet

# SOAK_ROUNDS limits each campaign, SOAK_SEED is its first seed, ONLY a file or a folder of tests.
soak: $(READY) packages ## The slow campaigns, then every test with fresh random examples
	$(PYTEST) -vv --dist load -m slow $(ONLY)
	HYPOTHESIS_PROFILE=fresh $(PYTEST) -m 'not slow' $(ONLY)

mutants: $(READY) ## Mutation testing of the core modules; of some with MODULES="lease matching"
	@test -d build/cosmic-ray || $(PIP) --target build/cosmic-ray cosmic-ray==8.7.0
	$(PY) benchmarks/mutants.py $(MODULES)

clean: ## Remove what was built; data and results stay
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
