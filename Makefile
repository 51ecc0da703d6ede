# What a developer runs. Every target sets up what it needs in .venv by itself; a second call is quick.
#   make PYTHON=python3.13 test    takes another interpreter (3.10 to 3.13)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV := .venv
FRAMEWORKS := .venv-frameworks
FRAMEWORK_GROUPS := $(shell sed -n 's/^frameworks-\([a-z]*\) = .*/\1/p' pyproject.toml)
BIN := $(VENV)/bin
# The stamps lie in the environment, so that they go with it. One is touched when its part is whole.
STAMPS := $(VENV)/.bentobatch
APT_LINE := apt-get install -y git make python3-venv libgomp1
# mypy stops at a folder without any Python file, so an integrations/ that is still empty is not named.
CHECKED := bentobatch $(wildcard integrations/bentobatch_*)

# The first interpreter of these that starts and is new enough; version managers leave commands about that do not start.
find_python = for name in $(1); do \
	"$$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 \
	&& { command -v "$$name"; break; }; done
ifdef PYTHON
FOUND := $(shell $(call find_python,$(PYTHON)))
else
FOUND := $(shell $(call find_python,python3.11 python3.12 python3.13 python3.10 python3))
endif
# uv is used where it is new enough to install dependency groups.
UV := $(shell uv pip install --help 2>/dev/null | grep -q -e '--group' && command -v uv)

.PHONY: help setup test test-frameworks test-environments lint format demo crash bench bench-peers bench-scale bench-online clean check-machine

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

setup: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/demo ## make .venv with everything in it

test: $(STAMPS)/test ## run the tests
	@$(BIN)/python tests/services.py
	@$(BIN)/python -m pytest -n logical --dist loadgroup

lint: $(STAMPS)/lint $(STAMPS)/test ## check style, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CHECKED)
	$(BIN)/lint-imports --config setup.cfg --no-logo

format: $(STAMPS)/lint ## rewrite the source in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMPS)/demo ## train, save a bundle, score a million rows, compare (in demo/)
	@$(BIN)/python tests/demo/demo.py demo

# Heavy libraries are in environments of their own, one for each group frameworks-NAME of pyproject.toml, with its tests
# in tests/heavy/NAME. By pip, which finds builds without CUDA where uv does not look.
NAME ?= $(FRAMEWORK_GROUPS)
test-frameworks: check-machine ## run the tests of heavy frameworks, each group in an environment of its own (NAME=torch)
	@for name in $(NAME); do \
		python=$(FRAMEWORKS)-$$name/bin/python; \
		$$python -c '' 2>/dev/null || "$(FOUND)" -m venv --clear $(FRAMEWORKS)-$$name; \
		$$python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"; \
		$$python -m pip install --quiet --disable-pip-version-check --editable . --group frameworks-$$name; \
		$$python -m pytest tests/heavy/$$name; \
	done

test-environments: $(STAMPS)/test ## run the tests of environments that need a network, and old Pythons
	@$(BIN)/python -m pytest tests/heavy/environments

N ?= 1000
crash: $(STAMPS)/test ## kill runs at N instants and compare (N=1000; hours)
	@BENTOBATCH_CRASH_KILLS=$(N) $(BIN)/python -m pytest tests/faults/test_crash.py

ROUNDS ?= 5
MEMORY ?= 1
bench_options = --rounds $(ROUNDS) --memory-rounds $(MEMORY) --only "$(ONLY)"
bench: $(STAMPS)/bench ## measure it beside hand-written loops (ROUNDS=5 MEMORY=1 ONLY=W1,W2; needs 12 GB of disk, an hour or two)
	@$(BIN)/python tests/benchmarks/bench.py $(bench_options)

bench-peers: $(STAMPS)/bench ## measure it beside other engines (ROUNDS=5 MEMORY=1 ONLY=W1,W2; ten minutes a round)
	@$(BIN)/python tests/benchmarks/bench_peers.py $(bench_options)

bench-scale: $(STAMPS)/bench ## measure it at large sizes, into docs/scaling.md (needs 35 GB of disk, half an hour)
	@$(BIN)/python tests/benchmarks/scale.py all

bench-online: check-machine $(STAMPS)/bench ## measure its servers beside others (ROUNDS=5 ONLY=S1; QUICK=1: six minutes; else 45; uses wrk)
	@$(BIN)/python tests/benchmarks/bench_online.py --rounds $(ROUNDS) --only "$(ONLY)" $(if $(QUICK),--quick)

clean: ## remove .venv and all that was built
	rm -rf $(VENV) $(FRAMEWORKS)-* .venv-online-* build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find bentobatch integrations tests dags -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# -- the environment

# What is missing is told before anything is made. libgomp (OpenMP, for xgboost and lightgbm) is looked for on Linux
# only, through the loader that will look for it.
check-machine:
	@missing() { echo "$$1 is missing; on Debian and Ubuntu: $(APT_LINE)" >&2; exit 1; }; \
	command -v git >/dev/null || missing git; \
	[ -n "$(FOUND)" ] || missing "a Python from 3.10 to 3.13"; \
	[ -n "$(UV)" ] || "$(FOUND)" -c 'import ensurepip, venv' 2>/dev/null || missing python3-venv; \
	[ "$$(uname -s)" != Linux ] || "$(FOUND)" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || missing libgomp1

# An environment that works is kept, whoever made it.
$(STAMPS)/venv:
	@$(MAKE) --no-print-directory check-machine
ifneq ($(UV),)
	$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); "$(UV)" venv --quiet --python "$(FOUND)" $(VENV); }
else
	$(BIN)/python -c 'import pip' 2>/dev/null || "$(FOUND)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"  # the first with --group
endif
	mkdir -p $(STAMPS) && touch $@

# One rule for the groups of pyproject.toml: the project itself (editable), and the group named like the stamp.
$(STAMPS)/lint $(STAMPS)/test $(STAMPS)/demo $(STAMPS)/bench: $(STAMPS)/venv pyproject.toml setup.cfg
ifneq ($(UV),)
	"$(UV)" pip install --quiet --python $(BIN)/python --editable . --group $(@F)
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group $(@F)
endif
	touch $@
