# `make demo` and `make test` work on a fresh machine with Python 3.11; everything else hangs on the same set-up.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_VENV := .venv-bench
BENCH_READY := $(BENCH_VENV)/.ready
DEMO ?= demo
WORKERS ?= 2
WORK ?= work
RELEASE ?= v0.1.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test system check lint types docs paper bench golden torture clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN)/pip install --quiet --no-deps -r requirements.lock
	$(RUN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(RUN)/pip check
	touch $@

demo: $(READY)  ## film the simulated rig, build, release, publish, train, fuse
	$(RUN)/twinband demo $(DEMO)

test: $(READY) system  ## the whole suite, one thread a worker
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(WORKERS) --dist worksteal

system:  ## Chromium, PostgreSQL and iproute2 for the tests of pages, a shared server and several hosts, where they are missing
	@{ command -v chromium && command -v ip && ls /usr/lib/postgresql/*/bin/postgres; } > /dev/null 2>&1 || { \
	    export DEBIAN_FRONTEND=noninteractive; \
	    as=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
	    $$as apt-get update -qq && $$as apt-get install -y -qq --no-install-recommends chromium iproute2 postgresql; \
	} || { echo "the tests need chromium, iproute2 and postgresql; install them, then run this again" >&2; exit 1; }

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(READY)
	$(RUN)/mypy

check: lint types test  ## exactly what CI runs

bench: $(READY) $(BENCH_READY)  ## measure the claims of docs/benchmarks.md and write it again; wants a quiet machine
	OMP_NUM_THREADS=1 $(RUN)/python -m tests.benchmarks

$(BENCH_READY): tests/benchmarks/requirements.txt
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet -r $<
	touch $@

docs: $(READY)  ## the page and the picture book of degradations
	$(RUN)/python -m flows.degradation_book docs

paper: $(READY)  ## every table and picture of docs/results.md, from RELEASE of WORK and WEIGHTS
	$(RUN)/python -m flows.results_book docs $(RELEASE) $(WORK) $(WEIGHTS)

golden: $(READY)  ## regenerate the pinned store layout; say why in CHANGELOG.md
	$(RUN)/python -m tests.schemas.make_golden

torture: $(READY)  ## the whole fault suite; writes docs/torture.md
	OMP_NUM_THREADS=1 $(RUN)/python -m tests.torture.full

clean:
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo screenshots
