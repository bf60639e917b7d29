# Everything that a contributor or CI runs. `make` alone lists the targets.
#
# The targets set up what they need: a virtual environment in .venv, made once, with one stamp file for each
# dependency group of pyproject.toml. GNU make 3.81 is enough (the version that macOS carries).

.DEFAULT_GOAL := help
.SUFFIXES:
# pip and cargo are not safe to run twice at a time in one environment and one target folder.
.NOTPARALLEL:

PYTHON ?= python3
# "given" when the user chose the interpreter: then an existing .venv has to hold that one.
ifeq ($(origin PYTHON),file)
PYTHON_IS := default
else
PYTHON_IS := given
endif

MATURIN_ARGS ?=
TEST_ARGS ?=
# Processes of pytest; 0 for a debugger.
TEST_JOBS ?= 2
PYTHONS ?= all
BENCH_ARGS ?=
ROWS ?=
QUICK ?=
DEMO_ARGS ?=
SAFETY_ARGS ?=

VENV := .venv
STAMPS := $(VENV)/.stamps
IN_VENV := $(VENV)/bin/python
PIP := $(IN_VENV) -m pip --quiet
# maturin looks for the environment in this variable.
MATURIN := VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(IN_VENV) -m maturin
# Apart from the builds: maturin hands pyo3 a configuration of its own where clippy has it ask the interpreter, and in
# one target folder each of the two would undo what the other has built.
CLIPPY := PYO3_PYTHON="$(CURDIR)/$(VENV)/bin/python" cargo clippy --target-dir target/clippy --all-targets

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# An activated conda or a PYTHONPATH of the user's shell would mix foreign packages into the environment.
unexport CONDA_PREFIX PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help build-develop build-release demo test test-rust test-python soak test-pythons lint bench safety docs \
	clean clean-venv check check-lint

help:  ## List the targets
	@echo "usage: make TARGET [PYTHON=python3.12] [...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

build-develop: $(STAMPS)/build | check  ## Build firehot into .venv (MATURIN_ARGS="--release" for an optimised build)
	$(MATURIN) develop $(MATURIN_ARGS)

build-release: $(STAMPS)/build | check
	$(MATURIN) develop --release $(MATURIN_ARGS)

demo: build-release $(STAMPS)/demo  ## Edit, reload, crash and rebuild a small application, with a table of times
	$(VENV)/bin/test-hotreload $(DEMO_ARGS)

test: test-rust test-python  ## Run the Rust tests, then pytest in TEST_JOBS=2 processes (TEST_ARGS="-k name" is handed to it)

test-rust: | check
	@if cargo nextest --version >/dev/null 2>&1; then \
	  echo "cargo nextest run && cargo test --doc"; \
	  cargo nextest run && cargo test --doc; \
	else \
	  echo "cargo test"; \
	  cargo test; \
	fi

test-python: build-develop $(STAMPS)/test $(STAMPS)/demo
	$(IN_VENV) -m pytest -W error -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

# Longer than any other test: faulthandler would end the host of one that works.
soak: build-develop $(STAMPS)/test $(STAMPS)/demo  ## Run the full counts of tests/soak and write their figures to docs/safety.md
	FIREHOT_SOAK=1 cargo test --test frames
	FIREHOT_SOAK=1 FIREHOT_SOAK_PAGE=docs/safety.md $(IN_VENV) -m pytest -W error -o faulthandler_timeout=4000 tests/soak tests/functional/test_rust_maturin.py $(TEST_ARGS)

# The wheel is the build of build-develop, packed: maturin compiles nothing anew.
test-pythons: $(STAMPS)/build | check  ## Run pytest on each CPython that is found or fetched (PYTHONS="3.10 3.15" or newest)
	rm -rf target/wheels
	$(MATURIN) build --out target/wheels $(MATURIN_ARGS)
	$(IN_VENV) scripts/test_pythons.py --wheel target/wheels/*.whl --pythons "$(PYTHONS)" $(TEST_ARGS)

lint: check-lint build-develop $(STAMPS)/lint $(STAMPS)/demo  ## Check formatting, clippy, ruff, mypy and the stubs of the native module
	cargo fmt --check
# Without the feature there is only less of it, which the tests compile.
	$(CLIPPY) --features python -- -D warnings
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy --strict
	$(IN_VENV) -m mypy.stubtest --mypy-config-file pyproject.toml firehot._core

# An optimised wheel, installed as a user would; the environments that it is measured in are in .venv-bench.
bench: $(STAMPS)/build | check  ## Measure it against its rivals and write docs/benchmarks.md (ROWS="exec ready" QUICK=1)
	rm -rf target/bench
	$(MATURIN) build --release --out target/bench $(MATURIN_ARGS)
	$(IN_VENV) -m benches $(ROWS) $(if $(QUICK),--quick) $(BENCH_ARGS)

# It makes its own environments, in .venv-safety.
safety: build-develop  ## Try the packages of docs/safety.md and write its tables (SAFETY_ARGS="--only numpy pandas")
	@echo "the packages of the matrix take several GB in .venv-safety"
	$(IN_VENV) -m safety.matrix $(SAFETY_ARGS)

docs: $(STAMPS)/docs  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(IN_VENV) -m mkdocs build --strict

clean: clean-venv  ## Remove the virtual environment and everything that was built
	rm -rf target site dist .pytest_cache .mypy_cache .ruff_cache
	rm -f firehot/_core*.so
	find firehot tests benches safety demopackage external-package -name __pycache__ -prune -exec rm -rf {} +

clean-venv:  ## Remove the virtual environments only
	rm -rf $(VENV) .venv-safety .venv-bench

# Before anything else: the tools, and that .venv is the one that was asked for.
check:
	@sh scripts/check-tools.sh "$(PYTHON)" $(PYTHON_IS) $(VENV)

check-lint: | check
	@sh scripts/check-tools.sh "$(PYTHON)" $(PYTHON_IS) $(VENV) rustfmt clippy

# --- the virtual environment ---------------------------------------------------------------------------------------
# pip learned dependency groups in 25.1; the one that an interpreter brings along is often older.

$(STAMPS)/venv: | check
	@echo "setting up $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@mkdir -p $(STAMPS)
	@pwd >$@

$(STAMPS)/build $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/docs: pyproject.toml $(STAMPS)/venv | check
	@echo "installing the dependency group '$(@F)'"
	@$(PIP) install --group $(@F)
	@touch $@

# --no-deps: they depend on firehot, which maturin installs, and on each other.
$(STAMPS)/demo: pyproject.toml demopackage/pyproject.toml external-package/pyproject.toml $(STAMPS)/venv | check
	@echo "installing the dependency group 'demo', external-package and demopackage"
	@$(PIP) install --group demo
	@$(PIP) install --no-deps --editable external-package --editable demopackage
	@touch $@
