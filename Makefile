# From nothing: every target makes its own .venv first. `make demo` and `make test` are the two to know.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
# old and new libraries warn of each other
OLDER := -W default::DeprecationWarning -W default::PendingDeprecationWarning

.PHONY: demo test coverage slow lowest newest lint format docs bench install clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	@touch $@

demo: install          ## train on data/zmumu.root, write demo/fake.root and demo/report.html
	$(BIN)/python examples/zmumu_surrogate.py --output demo

test: install          ## what CI runs, on WORKERS cores
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not gpu"

coverage: install      ## branches of the package that `make test` takes: 95 % or more
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not gpu"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --show-missing --skip-covered --sort=cover
	$(BIN)/coverage json --quiet -o - | $(BIN)/python -c "import json, sys; \
	found = json.load(sys.stdin)['totals']['percent_branches_covered']; \
	sys.exit(print(f'branches: {found:.2f} %') or found < 95)"

slow: install          ## the statistics in full
	$(BIN)/python -m pytest -q -m "not gpu"

lowest: install        ## the tests with the lowest versions that pyproject.toml allows, and no extras
	$(PYTHON) -m venv .venv/lowest
	$(BIN)/python -c "import tomllib; d = tomllib.load(open('pyproject.toml', 'rb')); \
	print(*d['project']['dependencies'], sep='\n')" | sed 's/>=/==/' > .venv/lowest.txt
	.venv/lowest/bin/python -m pip install --quiet -c .venv/lowest.txt -e . pytest pytest-xdist hypothesis
	.venv/lowest/bin/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not gpu" $(OLDER)

newest: install        ## the tests with the newest versions of everything
	$(PYTHON) -m venv .venv/newest
	.venv/newest/bin/python -m pip install --quiet --upgrade -e ".[dev]"
	.venv/newest/bin/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not gpu" $(OLDER)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going docs docs/_build

bench: install
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/comparison.py
	$(BIN)/python benchmarks/mmd.py
	$(BIN)/python -m pip install --quiet -c constraints.txt zuko
	$(BIN)/python benchmarks/zmumu.py
	$(BIN)/python -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet mcising==1.1.0 peapods==0.2.0 isingenerator==3.1.2
	$(BIN)/python benchmarks/ising.py --peers .venv/peers/bin/python

clean:
	rm -rf .venv demo docs/_build
