# What can be done here. Every target makes what it needs, from nothing: `make help`.
#
# The needs: Rust >= 1.95 and Python >= 3.10. For the side-by-side with Apache Kafka also Java >= 17, Maven and kcat; where
# these are missing the tests that want them are skipped and say so (in CI, that is with CI=true, they fail).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# One folder for all that cargo builds, so that nothing is compiled twice.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# In CI the lock file is the law.
LOCKED := $(if $(CI),--locked)
# Ours must not depend on what the caller's shell has activated.
unexport VIRTUAL_ENV CONDA_PREFIX

VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/.tools
INSTALLED := $(VENV)/.installed
DEMO := $(VENV)/.demo
JARS := .peers/lib/.complete

RUST := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
PACKAGE := pyproject.toml $(shell find python -name '*.py*' -not -name '*.pyc')
PY := python tests notebooks
# How many tests at once, most of which wait for something; each job has an Apache Kafka of its own.
JOBS ?= 2
PYTEST = STRANDLINE_BIN=$${STRANDLINE_BIN-$(CURDIR)/$(BIN)/strandline} $(BIN)/python -m pytest tests/python tests/peers

.PHONY: help demo test test-rust test-python verify fix bench bench-micro peers kcat fuzz corpus clean

help: ## tell what can be done
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(DEMO) ## a year of flights through three brokers inside this process, of which one is killed half way
	$(BIN)/strandline demo --brokers 3

test: test-rust test-python ## every test, also side by side with Apache Kafka

test-rust: ## the tests of the Rust code
	cargo test $(LOCKED)

test-python: $(DEMO) peers ## the tests of the Python package, and the side-by-side with Apache Kafka
	$(PYTEST) -m 'not alone' --numprocesses $(JOBS) --dist loadfile
	$(PYTEST) -m alone

verify: $(INSTALLED) ## format, lints as errors, documentation, Python types
	cargo fmt --check
	cargo clippy $(LOCKED) --all-targets -- -D warnings
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy $(LOCKED) --features python -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(LOCKED) --no-deps
	$(BIN)/ruff format --check $(PY)
	$(BIN)/ruff check $(PY)
	$(BIN)/mypy --strict python/strandline python/pytest_strandline
	cargo test $(LOCKED) --test it floors::

fix: $(TOOLS) ## format, and mend what the linters can
	cargo fmt
	cargo clippy --all-targets --fix --allow-dirty --allow-staged
	$(BIN)/ruff check --fix $(PY)
	$(BIN)/ruff format $(PY)

# The wheel is built in the profile that a user gets, and takes the place of the one that the tests use.
bench: $(TOOLS) peers ## this broker and Apache Kafka side by side: writes the table in README
	cargo build --release --bin strandline
	rm -f $(CARGO_TARGET_DIR)/wheels/strandline-*.whl
	$(BIN)/maturin build --release --interpreter $(BIN)/python
	$(BIN)/python -m pip install -q --force-reinstall --no-deps $(CARGO_TARGET_DIR)/wheels/strandline-*.whl
	$(BIN)/python tests/bench/run.py $(or $(BENCH),--write)

bench-micro: ## the record, log and codec rooms by themselves; ONLY=log takes those whose path holds it
	cargo bench --bench micro -- $(ONLY)

peers: kcat ## fetch the programs that the broker is held against
	@if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then \
	  echo "peers: no java and mvn here, so Apache Kafka is left out"; \
	else $(MAKE) --no-print-directory $(JARS); fi

kcat:
	@if command -v kcat >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq kcat >/dev/null; \
	else echo "peers: no kcat here (Debian: apt-get install kcat), so it is left out"; fi

fuzz: ## hostile bytes for each parser: FUZZ_SECONDS (30) a target
	tests/fuzz/run.sh

corpus: ## make the seeds of the fuzz targets anew
	STRANDLINE_CORPUS=write cargo test $(LOCKED) --test it fuzz_corpus

clean: ## take away all that was made here
	rm -rf $(VENV) .peers dist $(CARGO_TARGET_DIR)

# The tools of the group `dev`, at the versions that pyproject.toml names.
$(TOOLS): pyproject.toml
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q 'pip>=25.1'
	$(BIN)/python -m pip install -q --group dev
	touch $@

# The wheel that a user would get, built in a faster profile, installed as a user would.
$(INSTALLED): $(TOOLS) $(RUST) $(PACKAGE)
	rm -f $(CARGO_TARGET_DIR)/wheels/strandline-*.whl
	$(BIN)/maturin build $(LOCKED) --profile quick --interpreter $(BIN)/python
	$(BIN)/python -m pip install -q --force-reinstall --no-deps $(CARGO_TARGET_DIR)/wheels/strandline-*.whl
	touch $@

# What the extra `demo` names; the wheel itself is there already, and then pip leaves it alone.
$(DEMO): $(INSTALLED)
	$(BIN)/python -m pip install -q 'strandline[demo]' --find-links $(CARGO_TARGET_DIR)/wheels
	touch $@

$(JARS): tests/peers/pom.xml
	mvn -q -B -f tests/peers/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.peers/lib
	touch $@
