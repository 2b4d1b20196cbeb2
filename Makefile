# Two commands for a stranger: `make demo` and `make test`.  Both make what they need by themselves.
# Debian's packages make and python3-venv are all that must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-for-demo
WORKERS ?= 2
PYTEST_ARGS ?=

MINUTES ?= 10
SEEDS ?= 2000
FIRST ?= 0

.PHONY: demo test fuzz simulate soak mutants lint format bench docs docs-check clean servers venv release-check

# --- what the others need ---------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "wherry needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml scripts/install.sh | $(BIN)/python
	bash scripts/install.sh $(BIN)/python
	@touch $@

$(DEMO_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,testing,compression]'
	@touch $@

venv: $(STAMP)

servers:
	@bash tests/servers/install.sh

# --- what people run --------------------------------------------------------------------------------------------

# make demo, or make demo URL=https://example.org/
demo: $(DEMO_STAMP)
	@$(BIN)/wherry demo $(if $(URL),'$(URL)')

test: $(STAMP) servers
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# make fuzz MINUTES=10 TARGETS="link hpack": what reads a peer's bytes, each target for its share of the time
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(TARGETS)

# make simulate SEEDS=1000000 FIRST=0: the real client on a simulated network, a run for each seed, on all cores
# make simulate SHRINK=7: the shortest run in which seed 7 fails as it does
simulate: $(STAMP)
	$(BIN)/python -m tests.simulation $(if $(SHRINK),--shrink $(SHRINK),--seeds $(SEEDS) --first $(FIRST))

# make mutants MUTANTS="sends-twice": changes to the client, and how many seeds find them
mutants: $(STAMP)
	$(BIN)/python -m tests.simulation.mutants $(MUTANTS)

# make soak MINUTES=60: real servers and a relay with faults, for long; a table, and a plot in soak.svg
soak: $(STAMP) servers
	$(BIN)/python -m tests.simulation.soak --minutes $(MINUTES) --plot soak.svg

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix --exit-zero src tests benchmarks scripts
	$(BIN)/ruff format src tests benchmarks scripts

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks $(BENCH_ARGS)
	$(BIN)/python scripts/figures.py
	$(BIN)/python -m benchmarks.websocket $(WEBSOCKET_ARGS)
	$(BIN)/python -m benchmarks.http3 $(HTTP3_ARGS)
	$(BIN)/python -m benchmarks.bulk $(BULK_ARGS)
	$(BIN)/python -m benchmarks.sync $(SYNC_ARGS)

docs: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The site as its readers see it, in headless Chromium (apt-get install chromium): widths, console, search.
docs-check: docs
	$(BIN)/python scripts/docs_check.py site $(if $(PICTURES),--pictures $(PICTURES))

# What a release is built from, checked as its users will meet it; CONTRIBUTING has the whole list.
release-check: $(STAMP) servers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	bash scripts/release_check.sh $(BIN)/python

clean:
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis site dist
