# Thin on purpose: each line is one call of a real tool, so that it can be typed by hand as well.
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
PARALLEL := -n $(JOBS) --dist loadfile

.PHONY: env reproduce test figures notebooks assignments ids bench clean
.DEFAULT_GOAL := env

# the environment, made again when what it is made from has changed
env: .venv/.stamp

.venv/.stamp: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

# the experiments on the embedded data into runs/, the notebooks into build/; nothing that git tracks changes
reproduce: env
	$(BIN)/paperlib check
	$(BIN)/paperlib run --all --scale sample --seeds 1 --jobs $(JOBS)
	$(BIN)/paperlib run --all --scale photos --seeds 1 --jobs $(JOBS)
	$(BIN)/python tools/notebooks.py --to build/notebooks --jobs $(JOBS)
	$(BIN)/paperlib figures
	$(BIN)/paperlib claims
	$(BIN)/paperlib agree --scale sample
	$(BIN)/paperlib agree --scale photos

# what CI runs
test: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests $(PARALLEL) --cov --cov-report=term
	$(BIN)/python -m pytest --nbval notebooks $(PARALLEL)

figures: env
	$(BIN)/paperlib figures

# for maintainers: executes the notebooks in place, which changes the committed outputs, and writes README's tables
notebooks: env
	$(BIN)/python tools/notebooks.py --jobs $(JOBS) --costs data/recorded/notebooks.csv
	$(BIN)/python tools/readme.py

# the course in course/: student copies, solutions and nbgrader's folder; then `.venv/bin/python tools/grade.py`
assignments: env
	$(BIN)/python tools/assignments.py

# for maintainers, after `paperlib record`: the list of all recorded runs
ids: env
	grep -rhoE '"id": "[0-9a-f]{64}"' data/recorded | cut -d'"' -f4 | sort > tests/recorded_ids.txt

# ours against the obvious alternatives, as ratios, with nothing else running; writes benchmarks/results.* and their
# figure, which `python -m benchmarks --draw` draws again
bench: env
	$(BIN)/python -m benchmarks --keep

# what can be made again; runs/, data/cache/ and .venv/ stay
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info
