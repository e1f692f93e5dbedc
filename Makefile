# Six targets, each one line, printed when it runs. docs/operations.md has the first four without make.
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.PHONY: demo test check results torture coverage

demo: .venv/stamp
	dvc pull data && structalign repro && dvc metrics show && structalign costs
	@echo "Search it in a browser: source .venv/bin/activate && structalign serve"

test: .venv/tests
	dvc pull data && ruff check && ruff format --check && mypy && pytest -q -n 3 --dist loadfile

check: .venv/tests
	ruff check && ruff format --check && mypy && pytest -q -m 'not slow'

results: .venv/stamp
	structalign repro && structalign sweep sweeps/results.yaml && structalign sweep sweeps/ablations.yaml

# Kills, full disks, damage: every trial must come back to the undisturbed bytes.
torture: .venv/tests
	python tests/torture.py

# The share of lines that the quick tests run; exit 2 below the floor of pyproject.toml.
coverage: .venv/tests
	coverage run -m pytest -q -m 'not slow' && coverage report

# The environment, and the same with what tests need: made when it is missing, mended when the constraints or the
# dependencies are newer. Compiled on all cores, where pip takes one, and without other models and packages' own tests.
# A file for another Python does not compile. pip ignores that as well.
COMPILE := { .venv/bin/python -m compileall -qq -j 0 -x '/test(s|ing)/|/models/(?!auto|clip|encoder)' .venv/lib || true; }

.venv/stamp: constraints.txt pyproject.toml
	python3 -m venv .venv && .venv/bin/pip install -q --no-compile -c constraints.txt -e '.[pipeline,serve]' && $(COMPILE) && touch .venv/stamp

.venv/tests: constraints.txt pyproject.toml
	python3 -m venv .venv && .venv/bin/pip install -q --no-compile -c constraints.txt -e '.[test]' && $(COMPILE) && touch .venv/stamp .venv/tests
