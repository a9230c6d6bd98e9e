# `make demo` and `make test` work on a fresh machine with Python 3.11; everything else hangs on the same set-up.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo
WORKERS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test check lint types golden clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN)/pip install --quiet --no-deps -r requirements.lock
	$(RUN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(RUN)/pip check
	touch $@

demo: $(READY)  ## film the simulated rig, build, release, publish, train, fuse
	$(RUN)/twinband demo $(DEMO)

test: $(READY)  ## the whole suite, one thread a worker
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(READY)
	$(RUN)/mypy

check: lint types test  ## exactly what CI runs

golden: $(READY)  ## regenerate the pinned store layout; say why in CHANGELOG.md
	$(RUN)/python -m tests.schemas.make_golden

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo
