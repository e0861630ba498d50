# Two commands for a fresh machine that has only Python 3.11 to 3.13:
#   make demo    train, measure, look at and export FDEN on embedded digits
#   make test    lint and the quick tests (test-all: the slow ones too)
# Tests of the page in a browser are skipped where there is none; on Debian:
#   apt-get install chromium chromium-driver
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Setting up is done again only when what is installed has changed.
READY := $(VENV)/.ready
# Tracing graphs keeps one core busy; a file's tests share what they set up.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: demo test test-all lint setup clean

setup: $(READY)

$(READY): setup.py
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[serving,test]'
	@touch $@

demo: $(READY)
	$(BIN)/python -m trainers.run --model=fden --dataset=digits --workdir=runs/demo
	$(BIN)/python -m export.run --run=runs/demo --output=models/fden-digits

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(PYTEST) -m 'not slow'

test-all: lint
	$(PYTEST)

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
