# make demo, make check, make test, make bench: all there is. Each begins with an up-to-date install.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
# Extra words for pip, e.g. PIP_ARGS="--extra-index-url ADDRESS" with the index of PyTorch's CPU or CUDA builds.
PIP_ARGS ?=
PEERS  := orthanc orthanc-dicomweb dcmtk dicom3tools libegl1 libegl-mesa0 libgl1-mesa-dri
TESTS  ?= tests

.PHONY: install demo check test bench peers lock clean

install: $(STAMP)

$(STAMP): requirements.lock requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("MedReID needs Python 3.11 or newer; set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -r requirements.lock -r requirements-dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# Or the first syncs of a node wait until the disk has swallowed all that was just installed.
	@sync
	@touch $(STAMP)

demo: install
	$(BIN)/medreid demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread in each of two processes: threads of theirs would only wait for each other.
test: install peers
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(TESTS)

bench: install peers
	$(BIN)/python -m tests.bench

# Real peers for the tests. Where they may not be installed, pytest says which tests it leaves out and what to install.
peers:
	@missing=""; for p in $(PEERS); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "no apt-get here: install$$missing by hand for the whole suite"; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else echo "no right to install$$missing: tests that need them are left out"; fi

# Resolves the lock files anew in an environment of their own.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install -q --disable-pip-version-check --upgrade pip
	build/lock/bin/python -m pip install -q $(PIP_ARGS) .
	{ echo "# What the service runs on; made by make lock."; build/lock/bin/python -m pip freeze --exclude medreid | sed 's/+cpu$$//'; } > requirements.lock
	build/lock/bin/python -m pip install -q $(PIP_ARGS) -c requirements.lock --group dev setuptools
	{ echo "# What tests and checks need besides; made by make lock."; build/lock/bin/python -m pip freeze --all --exclude medreid --exclude pip | sed 's/+cpu$$//' | grep -vxFf requirements.lock; } > requirements-dev.lock
	rm -rf build/lock

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache reports
