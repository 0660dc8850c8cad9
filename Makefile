# Flowrate's commands. `make help` lists them; nothing else is needed to work here.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SEEDS ?= 20
SECONDS ?= 600
FLOWS ?= 4000000
INPUTS ?= 1000000
SEED ?= 1
PACKAGES := rating billing collectors streams warehouse api dashboards infra

# The stamp carries the lock file's checksum: another lock is another stamp, whatever the clock says.
LOCK_SUM := $(firstword $(shell cksum < requirements.lock))
STAMP := $(VENV)/.installed-$(LOCK_SUM)

.PHONY: help run serve test check check-format check-lint check-types check-imports check-style \
  bench bench-brief bench-cluster soak fuzz simulate prove-cluster chaos format example lock venv clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(STAMP) ## start Flowrate with a simulated network and print the page's address
	@$(BIN)/flowrate demo

serve: $(STAMP) ## start Flowrate on real input (flowrate.toml; `flowrate init` writes one)
	@$(BIN)/flowrate serve

test: $(STAMP) ## run every test that this machine's peers allow; names what was skipped and why
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: check-format check-lint check-types check-imports check-style ## all of check-*; -k goes on

check-format: $(STAMP) ## is everything formatted?
	$(BIN)/ruff format --check .

check-lint: $(STAMP) ## lint
	$(BIN)/ruff check .

check-types: $(STAMP) ## mypy, strict
	$(BIN)/mypy $(PACKAGES) tests

check-imports: $(STAMP) ## the import rule
	$(BIN)/lint-imports

check-style: $(STAMP) ## the style's numbers and names, and the example settings
	$(BIN)/python -m pytest -q tests/tidy tests/infra/test_init.py

bench: $(STAMP) ## print each stage's speed, and other collectors' on the same traffic
	@$(BIN)/python -m tests.benchmarks

bench-brief: $(STAMP) ## the comparisons of it alone, in a few minutes
	@$(BIN)/python -m tests.benchmarks --brief

bench-cluster: $(STAMP) ## the same of a cluster, and its latency, on a real Kafka and PostgreSQL
	@$(BIN)/python -m tests.benchmarks.bench_cluster

soak: $(STAMP) ## memory of receiver and engine over FLOWS=N flows of 500 exporters
	@$(BIN)/python -m tests.benchmarks.soak --flows $(FLOWS)

fuzz: $(STAMP) ## give the parsers INPUTS=N inputs, guided by coverage
	@$(BIN)/python -m tests.fuzz --inputs $(INPUTS)

simulate: $(STAMP) ## run SEEDS=N simulated networks against the auditor
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

prove-cluster: $(STAMP) ## the same books embedded and through a real cluster, also amid kills
	@$(BIN)/python -m tests.cluster.prove

chaos: $(STAMP) ## hurt a whole cluster for SECONDS=N as SEED=N says, then audit it
	@$(BIN)/python -m tests.cluster.chaos --seconds $(SECONDS) --seed $(SEED)

format: $(STAMP) ## format the code and apply lint's safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

example: $(STAMP) ## write flowrate.example.toml anew from the packages' config dataclasses
	$(BIN)/python -c 'from infra.init import example_text; print(example_text(), end="")' \
	  > flowrate.example.toml

lock: $(STAMP) ## resolve the dependencies anew into requirements.lock and the image's (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 2; }
	uv pip compile pyproject.toml --extra dev --python-version 3.11 --upgrade --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --constraint requirements.lock --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet \
	  --output-file infra/deploy/docker/requirements.lock

venv: $(STAMP) ## build .venv from requirements.lock

clean: ## remove .venv and every cache (flowrate-data stays)
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache

$(STAMP):
	@infra/peers/venv $(VENV) requirements.lock
	@rm -f $(VENV)/.installed-* && touch $@
