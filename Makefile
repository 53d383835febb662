# Works with python3 (3.11 to 3.13), its venv module and make; everything else comes from
# requirements.txt, whose every file is pinned by hash.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test lint check bench shots soak lock clean
.NOTPARALLEL:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.project ## make .venv and install the pinned requirements into it

run: setup ## start everything with a built-in demo market (ARGS="--demo-rate 10000")
	$(PY) -m tickflight up --demo $(ARGS)

test: setup ## run every test (ARGS="-k sealer")
	$(PY) -m pytest $(ARGS)

lint: setup ## formatting, lint, types and the import contract
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

check: lint test ## all that must be green before a change is handed in

bench: setup ## measure this machine (ARGS="latest --json out.json")
	$(PY) -m tickflight bench $(ARGS)

shots: setup ## pictures of every dashboard page at two sizes, in build/shots
	$(PY) -m tests.shots

soak: setup ## tabs left open for ten minutes: nothing may grow (ARGS="--minutes 60")
	$(PY) -m tests.soak $(ARGS)

lock: ## write requirements.txt from pyproject.toml (ARGS=--upgrade takes newer versions)
	@mkdir -p build
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
	    --quiet --output-file requirements.txt $(ARGS)

clean: ## remove .venv and caches; data folders stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.requirements: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	    echo "setup: python 3.11 to 3.13 is needed, found: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "       Install one, or name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "setup: $(PYTHON) lacks the venv module." >&2; \
	    echo "       On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: installing requirements.txt into $(VENV); the first time takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check \
	    --require-hashes --requirement requirements.txt
	@touch $@

$(VENV)/.project: $(VENV)/.requirements pyproject.toml
	@$(PY) -m pip install --quiet --disable-pip-version-check \
	    --no-build-isolation --no-deps --editable .
	@touch $@
