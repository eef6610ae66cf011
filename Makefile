# Everything a newcomer needs: `make demo` and `make test`, from nothing but Python >= 3.11 with venv.
# See `make help`.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check check-deploy format lock clean

help:  ## Show this
	@awk -F ':.*## ' '/^[-a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo  ## See it work: a private Postgres, a simulated AWS, and what analysts see
	@$(BIN)/etl demo --text

test: .venv/dev  ## Run all tests, and measure what they cover
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses 4
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: .venv/dev check-deploy  ## Check format, lint and types, and what is in deploy/
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check-deploy: .venv/deploy/ready  ## Check what is in deploy/ with the tools of each
	@.venv/deploy/bin/python -m deploy.checks

format: .venv/dev  ## Mend format, and lint where it mends itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --upgrade --quiet

lock: .venv/dev  ## Lock the newest versions that pyproject.toml allows
	$(BIN)/pip install --quiet uv
	$(COMPILE) --extra demo --group build --output-file requirements/demo.txt pyproject.toml
	$(COMPILE) --extra demo --group dev --output-file requirements/dev.txt pyproject.toml
	$(COMPILE) --output-file requirements/run.txt pyproject.toml
	$(COMPILE) --group build --output-file requirements/build.txt
	$(COMPILE) --group deploy --output-file requirements/deploy.txt

clean:  ## Remove what make has made; data of the private Postgres stay
	rm -rf .venv .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The package itself is installed in place; hatchling is among the locked requirements, so nothing unlocked is built.
.venv/demo .venv/dev: .venv/%: requirements/%.txt pyproject.toml | .venv/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

# The tools that check deploy/ have an environment of their own: they are heavy, and the product never meets them.
.venv/deploy/ready: requirements/deploy.txt | .venv/bin/python
	@$(BIN)/python -m venv .venv/deploy
	@.venv/deploy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--no-compile -r $<
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making .venv, about half a minute, once ..."
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "This Python lacks venv (Debian: apt install python3-venv)"; exit 1; }
