# Everything is done by these; nothing has to be typed before them. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test setup lint types unit bench docs soak clean

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

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: $(READY) ## Set up, make synthetic data, train the baseline (quick preset), print the table
	$(VENV)/bin/aqr-exp data synth
	$(VENV)/bin/aqr-exp run baseline
	$(VENV)/bin/aqr-exp table

test: lint types unit ## Set up, then lint, types and every test

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

unit: $(READY) ## Unit, integration, end-to-end and wheel tests
	$(PY) -m pytest -m 'not slow'

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

soak: $(READY) ## The slow campaigns
	HYPOTHESIS_PROFILE=fresh $(PY) -m pytest

clean: ## Remove what was built; data and results stay
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
