# `make smoke` and `make test` set up what they need: a virtual environment from the lock file.

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python
TESTS ?= tests
PYTEST := $(RUN) -m pytest $(TESTS)
# Also where the environment forbids bytecode: the tests start the program some hundred times.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: smoke test test-slow lint generated ascend-operators ascend-acceptance setup lock clean

smoke: $(READY)
	$(RUN) runner.py recipes/tiny.toml

# `test` and `test-slow` take a part of the tests, too: make test-slow TESTS=tests/launch
test: $(READY)
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(PYTEST) -m slow

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Writes anew what is made from the code: presets, schemas, the tables of a manifest's fields and of
# a recipe's keys.
generated: $(READY)
	$(RUN) -m tools.make_presets
	$(RUN) -m tools.manifest_docs
	$(RUN) -m tools.recipe_docs
	$(RUN) runner.py schema > recipes/recipe.schema.json

# Compiles the graphs of all stages and writes the table in docs/ascend.md anew.
ascend-operators: $(READY)
	$(RUN) -m tools.ascend_operators

# On a host with Ascend cards: runs the tiny recipe in every way that differs on a card.
ascend-acceptance: $(READY)
	$(RUN) -m tools.ascend_acceptance

setup: $(READY)

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "error: $(PYTHON) is not Python 3.10 to 3.12; name one: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "error: $(PYTHON) -m venv $(VENV) failed; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $(READY)

# Pins versions and hashes of everything in pyproject.toml; needs uv.
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.10 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:
	rm -rf $(VENV)
