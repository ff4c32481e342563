# Everything below runs inside .venv, which is remade only when pyproject.toml or constraints.txt changes.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# uv does not read pip's find-links; this makes both agree where pip is set up with one.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
UV := $(shell command -v uv 2>/dev/null)
INSTALL_IN = $(if $(UV),uv pip install --quiet --python $(1)/bin/python,$(1)/bin/python -m pip install --quiet --disable-pip-version-check)
INSTALL = $(call INSTALL_IN,$(VENV)) -c constraints.txt
VENV_IN = $(if $(UV),uv venv --quiet --python $(PYTHON) $(1),$(PYTHON) -m venv $(1))
LINES_COVERED := --cov --cov-report=term:skip-covered
LOWEST := .venv-lowest
# The lowest versions call functions that newer indirect dependencies deprecate: these warnings are no errors here.
LOWEST_WARNINGS := -W default::DeprecationWarning

.PHONY: help env mlflow browser mariadb test test-slow test-matrix lowest check lint types types-newest layers demo docs example release-check best-known pretrained screenshots gallery compose-check format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

env: $(VENV)/.stamp ## make the environment

$(VENV)/.stamp: pyproject.toml constraints.txt
	@echo "making the environment in $(VENV): 2.5 GB, some minutes"
	@rm -rf $(VENV)
	@$(call VENV_IN,$(VENV))
	@$(INSTALL) -e '.[dev]'
	@touch $@

mlflow: env ## MLflow (850 MB), for its tracker's test against a real server
	@$(BIN)/python -c "import mlflow" 2>/dev/null || $(INSTALL) -e '.[dev,mlflow]'

browser: ## Chromium for the browser's test and the pictures: found, or Debian's installed (root)
	@python3 scripts/chromium.py >/dev/null 2>&1 || { \
		[ -z "$$DRIVEBEAT_CHROMIUM" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; \
	python3 scripts/chromium.py

mariadb: ## MariaDB's server for its slow tests, which start and stop it: found, or Debian's installed (root)
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v mariadbd >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server-core mariadb-client-core >/dev/null; }; \
	command -v mariadbd || { echo "no mariadbd; install MariaDB's server" >&2; exit 1; }

test: env ## the test suite, but for the slow tests; COVERAGE=1 prints the lines covered
	$(BIN)/python -m pytest -q -m "not slow" $(if $(filter-out 0,$(COVERAGE)),$(LINES_COVERED))

test-slow: env ## the slow tests: a browser, worker processes killed, clusters, outages, whole recordings
	$(BIN)/python -m pytest -q -m "slow and not matrix"

test-matrix: env ## every act of another program, in every situation, on each database
	$(BIN)/python -m pytest -q -m matrix

$(LOWEST)/.stamp: $(VENV)/.stamp scripts/lowest.py
	@echo "making the environment in $(LOWEST): 2.5 GB, some minutes"
	@rm -rf $(LOWEST)
	@$(call VENV_IN,$(LOWEST))
	@$(BIN)/python -m scripts.lowest > $(LOWEST)/constraints.txt
	@$(call INSTALL_IN,$(LOWEST)) -c $(LOWEST)/constraints.txt -e '.[test]'
	@touch $@

lowest: $(LOWEST)/.stamp ## make test with the lowest versions that pyproject.toml allows (Python 3.11)
	$(LOWEST)/bin/python -m pytest -q -m "not slow" $(LOWEST_WARNINGS)

lint: env ## ruff: format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: env ## mypy, strict
	$(BIN)/mypy

types-newest: env ## mypy, strict, for the newest Python
	$(BIN)/mypy --python-version 3.14

layers: env ## import-linter: search -> training -> models | data | objectives
	$(BIN)/lint-imports

check: lint types types-newest layers test test-slow ## everything that must hold before a commit

format: env ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: env ## recordings -> search -> best.yaml -> training -> table, figure, sound
	$(BIN)/drivebeat data synth --out data/demo --seed 1 --minutes 1 --sessions 8 --speeds 80,100,120
	$(BIN)/drivebeat create search/studies/demo.toml
	$(BIN)/drivebeat launch demo --workers 2
	$(BIN)/drivebeat export demo -o runs/demo/best.yaml
	$(BIN)/drivebeat train runs/demo/best.yaml -o runs/demo/final --epochs 30 --threads 2
	$(BIN)/drivebeat evaluate runs/demo/final --threads 2
	@echo "browse the trials: $(BIN)/drivebeat dashboard"

docs: env ## the documentation as a site in site/, readable and searchable without a network; strict about links
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "read it: site/index.html"

example: env ## docs/example and the head of README.md: figure, sounds, evaluation, report (4 minutes)
	$(BIN)/python -m scripts.front_page
	$(BIN)/python -m scripts.example

release-check: env ## build wheel, sdist, site and image, and run the wheel in a new environment (3 minutes)
	$(BIN)/python -m scripts.release_check

gallery: env browser ## figures and sounds of docs/gallery again, by the code on its pages
	$(BIN)/python -m scripts.gallery

screenshots: env browser ## pictures for docs/img, of a real study in a real browser
	$(BIN)/python -m scripts.screenshots

best-known: env ## retrain the best config known, on real recordings beside the checkout (2 hours of one core)
	$(BIN)/drivebeat data synth --out data/generated --seed 7 --minutes 0.34 --speeds 80,120 --sessions 99
	$(BIN)/drivebeat train search/studies/best_known_5s.yaml -o runs/best_known_5s
	$(BIN)/drivebeat train search/studies/best_known.yaml -o runs/best_known
	$(BIN)/drivebeat evaluate runs/best_known

pretrained: env ## train the model in models/pretrained again, on recordings beside the checkout (2.5 hours of one core)
	$(BIN)/drivebeat data get realdata2 --from ../shared/realdata2
	$(BIN)/drivebeat data synth --out data/generated --seed 7 --minutes 0.34 --speeds 80,120 --sessions 99
	$(BIN)/drivebeat train search/studies/pretrained_1.yaml -o runs/pretrained_1
	$(BIN)/drivebeat train search/studies/pretrained_2.yaml -o runs/pretrained_2
	$(BIN)/drivebeat train search/studies/pretrained_3.yaml -o runs/pretrained_3
	$(BIN)/drivebeat evaluate runs/pretrained_3

compose-check: env ## the containers for real (root; Debian's docker.io, docker-compose, debootstrap, tini)
	scripts/compose_check.sh

clean: ## remove the environment and caches, never studies or recordings
	rm -rf $(VENV) $(LOWEST) .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
