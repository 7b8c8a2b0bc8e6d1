# Needs python3 (3.11 or newer, with its venv module) and make; everything else is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
RUNS ?= 2000
REAL_RUNS ?= 100
SEED ?= 1
SAMPLE ?= 200

.DEFAULT_GOAL := help
.PHONY: help setup run test test-unit test-endtoend test-chaos test-browser browser lint format bench conformance pains chaos chaos-virtual chaos-real mutation docs clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with everything in it

# The stamp is written last, so that an interrupted set-up is done again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "charger-agent needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): set PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## the demo: charger, car, portal and payment on one web page
	$(BIN)/charger-sim demo

test: setup lint test-unit test-endtoend test-browser ## all checks and all tests

test-unit: setup ## the tests that need no browser and kill no daemon
	$(BIN)/python -m pytest --ignore=tests/browser --ignore=tests/endtoend --ignore=tests/chaos --ignore=tests/mutation -n $(WORKERS)

# These mostly wait for real time, so more of them than there are processors run at once.
test-endtoend: setup ## the real daemon killed, starved, cut off and stopped
	$(BIN)/python -m pytest tests/endtoend -n 6

test-browser: setup browser ## the demo page in headless Chromium
	$(BIN)/python -m pytest tests/browser

# Debian's package; where it cannot be installed the browser tests fail and say so.
browser:
	@.ci/install-browser

lint: setup ## ruff, formatting, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## let ruff write what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## speed and size beside their references
	$(BIN)/python -m tests.benchmarks

conformance: setup ## certification cases: covered and uncovered
	$(BIN)/python -m tests.conformance.list_coverage

pains: setup ## what people who run chargers suffer from: the tests that show the cure
	$(BIN)/python -m tests.pains.list_pains

chaos: chaos-virtual chaos-real ## random sessions and faults: RUNS=2000 in virtual time, then REAL_RUNS=100 with real processes; SEED=1

chaos-virtual: setup
	$(BIN)/charger-sim chaos --runs $(RUNS) --seed $(SEED)

chaos-real: setup
	$(BIN)/charger-sim chaos --real --runs $(REAL_RUNS) --seed $(SEED)

test-chaos: setup ## the proof machine itself: random runs find nothing, and deliberate bugs are found
	$(BIN)/python -m pytest tests/chaos tests/mutation -n $(WORKERS)

# cosmic-ray's operators and the parser they need, beside the environment and not in it: nothing else uses them.
$(VENV)/mutation/.installed: requirements-mutation.lock $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/mutation --requirement requirements-mutation.lock
	@touch $@

mutation: $(VENV)/mutation/.installed ## how many small changes in core, queue and store the tests notice: SAMPLE=200 (0: all) SEED=1
	PYTHONPATH=$(VENV)/mutation $(BIN)/python -m tests.mutation --sample $(SAMPLE) --seed $(SEED)

docs: setup ## write the generated pages
	$(BIN)/python -m agent.config.reference docs/configuration.md

clean: ## remove .venv and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
