# Thin on purpose: each line is one call of a real tool, so that it can be typed by hand as well.
# BIN= names the folder of another environment (conda's, uv's), which is then used as it is.
PYTHON ?= python3
JOBS ?= 2
BIN ?= .venv/bin
# nbval's plugin costs every process two seconds of CPU, which only notebooks need
TESTS := -p no:nbval -o addopts="--import-mode=importlib --strict-config --strict-markers"
PARALLEL := -n $(JOBS) --dist loadfile
STAMP := $(if $(filter .venv/bin,$(BIN)),.venv/.stamp)
BOOK := $(if $(STAMP),.venv/.book)

.PHONY: env lab reproduce reproduce-all test test-slow coverage test-course test-browser figures notebooks assignments readme book ids bench fuzz faults licences clean
.DEFAULT_GOAL := env

# the environment, made again when what it is made from has changed
env: $(STAMP)

.venv/.stamp: pyproject.toml requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, and $(PYTHON) is ' + sys.version.split()[0] + '. Name another one: PYTHON=python3.12 make env')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

# what the web edition needs besides
.venv/.book: .venv/.stamp requirements-book.lock
	$(BIN)/python -m pip install -r requirements-book.lock
	touch $@

# the notebooks in JupyterLab; the checkout is its root, so that links to figures and data work
lab: env
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_claims.ipynb

# the core experiments into runs/, the notebooks into build/, figures and claims; nothing that git tracks changes
reproduce: env
	$(BIN)/paperlib check
	$(BIN)/python tools/reproduce.py --jobs $(JOBS)

# every experiment that needs no download
reproduce-all: env
	$(BIN)/paperlib check
	$(BIN)/python tools/reproduce.py --all --jobs $(JOBS)

# what to run after a change
test: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests $(TESTS) $(PARALLEL) -m "not slow"
	$(BIN)/python -m pytest --nbval notebooks $(PARALLEL)

# the tests of what happens between processes: kills, ranks, interrupts, installations; CI runs these too
test-slow: env
	$(BIN)/python -m pytest tests $(TESTS) $(PARALLEL) -m slow

# which lines tests and notebooks reach; measuring it doubles their time
coverage: env
	$(BIN)/python -m pytest tests $(TESTS) $(PARALLEL) --cov --cov-report=
	$(BIN)/python -m pytest --nbval notebooks $(PARALLEL) --cov --cov-append --cov-report=term

figures: env
	$(BIN)/paperlib figures

# for maintainers: executes the notebooks in place, which changes the committed outputs, and writes the generated pages
notebooks: env
	$(BIN)/python tools/notebooks.py --jobs $(JOBS) --costs data/recorded/notebooks.csv
	$(BIN)/python tools/readme.py

# for maintainers: the generated parts of README.md and book/, and CLAIMS.md
readme: env
	$(BIN)/python tools/readme.py

# the web edition, from the committed notebooks, which are not executed: open build/book/index.html
book: env $(BOOK)
	$(BIN)/python -m sphinx -W --keep-going -q -j $(JOBS) -c book -d build/doctrees . build/book

# the web edition and the notebooks in a browser: Debian's Chromium, or the one that CHROMIUM= names
test-browser: book
	$(BIN)/python -m pytest book/test_browser.py book/test_lab.py

# the course in course/: student copies, solutions and nbgrader's folder; then `.venv/bin/python tools/grade.py`
assignments: env
	$(BIN)/python tools/assignments.py

# a class of 20 over two notebooks, wrong answers to every exercise, each student copy without a checkout
test-course: env
	$(BIN)/python -m pytest tests/whole/class_of_20.py

# for maintainers, after `paperlib record`: the list of all recorded runs
ids: env
	grep -rhoE '"id": "[0-9a-f]{64}"' data/recorded | cut -d'"' -f4 | sort > tests/recorded_ids.txt

# ours against the obvious alternatives, as ratios, with nothing else running; writes benchmarks/results.* and their
# figure, which `python -m benchmarks --draw` draws again, and the sentences that quote them
bench: env
	$(BIN)/python -m benchmarks --keep
	$(BIN)/python tools/readme.py

# a million damaged files for everything that reads files; hours: `python -m tools.fuzz --help` has shorter runs
fuzz: env
	$(BIN)/python -m tools.fuzz

# for maintainers: kills, full disks and dead processes, tried for real; writes book/faults.md
faults: env
	$(BIN)/python -m tools.faults

# for maintainers, after the lock files changed: writes book/licences.md
licences: env $(BOOK)
	$(BIN)/python -m tools.licences

# what can be made again; runs/, data/cache/ and .venv/ stay
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info
