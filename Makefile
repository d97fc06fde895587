# The two commands of the README are `make demo` and `make test`; the others are for those who change mxhw.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= build/demo
# The folder of open cell libraries that `make table-synth` reads: asap7/ and sg13g2_typ.lib.gz.
LIBERTY ?= ../shared/liberty
# One BLAS thread a test process: with pytest-xdist, more would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help demo test test-full test-postgres postgres-server test-browser chromium lint format bench bench-formats bench-demo bench-capture bench-families bench-rtl bench-emission bench-integer bench-fifos bench-cost bench-search bench-lm bench-allocate table-synth table-validation clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 24

$(BIN)/.installed: pyproject.toml constraints.txt $(wildcard mxhw/formats/kernels/*.[ch])
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,dashboard]'
	touch $@

install: $(BIN)/.installed  ## make .venv and install mxhw with the tested versions

demo: $(BIN)/.installed  ## search, emit, co-simulate and report on the shipped model (about 5 minutes)
	$(BIN)/mxhw codesign examples/demo.toml --out $(OUT)

test: $(BIN)/.installed  ## the quick tests
	$(PYTEST) -n 2 --dist loadgroup -m "not slow"

test-full: $(BIN)/.installed postgres-server chromium  ## all tests
	$(PYTEST) -n 2 --dist loadgroup

test-postgres: $(BIN)/.installed postgres-server  ## a search on a PostgreSQL server that is restarted, workers killed
	$(PYTEST) -rs tests/passes/search/test_postgres.py

postgres-server:  ## install Debian's PostgreSQL, as root and where it is missing; the tests start a server of their own
	@ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null || { \
	  test "$$(id -u)" = 0 && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql; \
	} || echo "PostgreSQL is missing and cannot be installed here: its tests are skipped"

test-browser: $(BIN)/.installed chromium  ## the page of a search, and optuna-dashboard, in headless Chromium
	$(PYTEST) -rs tests/report/search

chromium:  ## install Debian's Chromium, as root and where it is missing
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || { \
	  test "$$(id -u)" = 0 && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium; \
	} || echo "Chromium is missing and cannot be installed here: its tests are skipped"

lint: $(BIN)/.installed  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/assembled.py build/assembled
	cp pyproject.toml build/assembled
	cd build/assembled && PYTHONPATH=. $(abspath $(BIN))/lint-imports --no-cache && $(abspath $(BIN))/mypy -p mxhw

format: $(BIN)/.installed  ## let ruff lay the code out
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-formats bench-demo bench-capture  ## every figure that the README states

bench-formats: $(BIN)/.installed  ## speed of the formats against a memory copy; ARGS="--isa avx2 --only 'mx*'"
	$(BIN)/python bench/formats.py $(ARGS)

bench-demo: $(BIN)/.installed  ## evaluation and co-simulation speed on the shipped model
	$(BIN)/python bench/demo.py

bench-capture: $(BIN)/.installed  ## capture without weights, streaming, and speed of graphs against the models
	$(BIN)/python bench/capture.py

bench-families: $(BIN)/.installed  ## the README's table of model families
	$(BIN)/python bench/families.py

bench-rtl: $(BIN)/.installed  ## speed of both simulation engines, of their builds and of emission; ARGS="--sizes 8"
	$(BIN)/python bench/rtl.py $(ARGS)

bench-emission: $(BIN)/.installed  ## speed of memory images, and of an MLP from its module to compared RTL
	$(BIN)/python bench/emission.py

bench-integer: $(BIN)/.installed  ## perplexity in integers against float emulation; ARGS="demo --windows 64 --variants 2"
	$(BIN)/python bench/integer.py $(or $(ARGS),demo)

bench-fifos: $(BIN)/.installed  ## depths of a block's FIFOs against the smallest that work in its RTL
	$(BIN)/python bench/fifos.py $(ARGS)

bench-search: $(BIN)/.installed  ## strategies of search at equal trials and times, 5 seeds (an hour); ARGS="--model DIR"
	$(BIN)/python bench/search.py --json build/bench-search.json --plot build/bench-search.svg $(ARGS)

bench-cost: $(BIN)/.installed  ## speed of the cost model, beside ZigZag and SCALE-Sim on the same products; ARGS="--markdown"
	$(BIN)/python bench/cost.py $(ARGS)

bench-allocate: $(BIN)/.installed  ## speed and gaps of the allocators; ARGS="--only MILP"
	$(BIN)/python bench/allocate.py $(ARGS)

bench-lm: $(BIN)/.installed  ## language models in RTL: emission, build, cycles, tokens a second; ARGS="demo DIR --unfolded"
	$(BIN)/python bench/language.py $(ARGS)

table-synth: $(BIN)/.installed  ## measure what changed of the cost model's table of sizes; LIBERTY=DIR ARGS="--only 'fifo' --jobs 2"
	$(BIN)/python -m mxhw.synthesis.table --liberty $(LIBERTY) $(ARGS)

table-validation: $(BIN)/.installed  ## the cost model against RTL and synthesis: cycles, stalls, whole models, area (half an hour)
	$(BIN)/python bench/validation/cycles.py --draws 6 --blocks 8
	$(BIN)/python bench/validation/stalls.py
	$(BIN)/python bench/validation/machine.py
	$(BIN)/python bench/validation/area.py

clean:  ## remove what was built
	rm -rf build .venv *.egg-info
