# `make up` starts a hub, `make test` runs every test this machine can run, `make help` lists the rest.

SHELL := /bin/bash -o pipefail
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GROUPS := unit local login fork ssh edge docker lab swarm fleet server vm
# These build images with all the processors there are, and make networks: the others would notice.
MACHINES := docker lab swarm fleet server
# Emulated machines take all the processors there are: these run by `make test-vm` only. Two files at a time, for each
# waits as long for what its machines wait for.
EMULATED := vm
TOGETHER := $(filter-out $(MACHINES) $(EMULATED),$(GROUPS))
PORT ?=
LAB ?= 1
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
NEWS := sed -u '/^\(Ignoring\|Looking\|Requirement already\|  Preparing\) /d'  # pip's progress without what nobody asked
PYTEST := $(BIN)/python -m pytest
# Of these three at most, and one processor is left to what they start.
WORKERS ?= $(shell processors=$$(nproc); [ $$processors -ge 4 ] && echo 3 || echo 2)
# A file stays together, for its tests share a hub (tests/conftest.py says so). WORKERS=0: one after the other.
PARALLEL = -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up venv dev test $(GROUPS:%=test-%) bench lab lab-down lint format lock docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/  make \1\t/p' Makefile | expand -t 22
	@echo "  make test-GROUP      one group of tests: $(GROUPS)"

up: $(VENV)/.cli  ## a hub on this machine, in the foreground (PORT=8123 for another port)
	@$(BIN)/hubfleet up --yes $(if $(PORT),--port $(PORT))

venv: $(VENV)/.cli  ## .venv with the hubfleet command (PYTHON=python3.13 for another interpreter)
	@echo "Ready: $(BIN)/hubfleet"

dev: $(VENV)/.dev  ## .venv with what tests and checks need as well

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) is not installed. Try: apt install python3 python3-venv python3-pip"; exit 1; }
	@$(PYTHON) scripts/check_python.py
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.cli: requirements/cli.txt pyproject.toml | $(BIN)/python
	@echo "Installing what the hubfleet command needs (about 20 MB) ..."
	@$(PIP) --require-hashes -r requirements/cli.txt | $(NEWS)
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.cli
	@echo "Installing what the tests need (about 150 MB) ..."
	@$(PIP) --require-hashes -r requirements/dev.txt | $(NEWS)
	@touch $@

# A browser that is on a server drops its pages when a network comes or goes on this machine, so it runs on its own.
# All three run, though one of them fails. pytest's 5 says that what was asked for is not among these.
test: $(VENV)/.dev  ## every test this machine can run, but test-vm; what it cannot is listed by name and reason
	@ended=0; \
	try() { \
		$(PYTEST) $(PARALLEL) "$$@" && code=0 || code=$$?; \
		[ $$code -eq 0 ] || [ $$code -eq 5 ] || ended=$$code; \
	}; \
	try $(TOGETHER:%=tests/%); \
	try $(MACHINES:%=tests/%) -m "not browser"; \
	try tests/server -m browser; \
	exit $$ended

$(EMULATED:%=test-%): WORKERS := 2
$(EMULATED:%=test-%): PYTEST += --durations 15
$(GROUPS:%=test-%): test-%: $(VENV)/.dev
	@$(PYTEST) $(PARALLEL) tests/$*

bench: $(VENV)/.cli  ## ours and stock JupyterHub by turns, on this machine (ARGS="--users 50 --stock both")
	@$(BIN)/python benchmarks/all.py $(ARGS)

lab: $(VENV)/.cli  ## a machine to try hubfleet on, a container that behaves like a bare server (LAB=3 for three)
	@$(BIN)/python scripts/lab.py up $(LAB)

lab-down: $(VENV)/.cli  ## remove those machines and all they have
	@$(BIN)/python scripts/lab.py down

lint: $(VENV)/.dev  ## format, style, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev  ## rewrite the files in the project's format
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

lock: $(VENV)/.cli  ## write all lock files anew (UPGRADE=1 for newer versions)
	@UPGRADE=$(UPGRADE) scripts/lock.sh

docs: $(VENV)/.cli  ## write the generated reference pages
	$(BIN)/python -m hubfleet.config.schema docs/reference
	$(BIN)/python -m hubfleet.deployer.reference docs/reference/deployer.md
	$(BIN)/python -m hubfleet.projects.schema docs/reference
	$(BIN)/python scripts/commands_page.py docs/reference/commands.md

clean:  ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
