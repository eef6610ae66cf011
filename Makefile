# Everything a newcomer needs: `make demo` and `make test`, from nothing but Python >= 3.11 with venv.
# See `make help`.

PYTHON ?= python3
CHROMIUM ?= chromium
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test coverage faults explore mutants check check-deploy check-docs docs check-bi check-report bench bench-views superset-zip format lock clean

help:  ## Show this
	@awk -F ':.*## ' '/^[-a-z]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo  ## See it work: a private Postgres, a simulated AWS, and what analysts see
	@$(BIN)/etl demo --text

test: .venv/dev  ## Run all tests
	@$(BIN)/python -m pytest --numprocesses 4

coverage: .venv/dev  ## Run all tests, and measure what they cover: it takes half as long again
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses 4
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

MINUTES ?= 5

faults: .venv/dev  ## Break it in every known way, and compare with the truth: make faults MINUTES=5 SEED=7
	@cd tests && ../$(BIN)/python -m faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

explore: .venv/dev  ## Kill a sync at each of its steps, and let two writers follow each other in each order
	@EVERY=1 $(BIN)/python -m pytest --quiet --numprocesses 2 tests/test_crash_points.py tests/test_interleavings.py

mutants: .venv/dev  ## Plant bugs one at a time, and see that the tests catch each
	@$(BIN)/python tests/mutants.py

check: .venv/dev check-deploy check-docs  ## Check format, lint and types, and what is in deploy/ and docs/
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check-deploy: .venv/deploy/ready  ## Check what is in deploy/ with the tools of each
	@.venv/deploy/bin/python -m deploy.checks

check-bi: .venv/dev .venv/superset/ready .venv/dbt/ready  ## Show the demo in Superset, Grafana's SQL and dbt, and check it
	@$(BIN)/python -m deploy.bi

check-docs: .venv/dev  ## Check that the data dictionary is what the database says
	@$(BIN)/python -m docs.generate --check

docs: .venv/dev  ## Write the data dictionary from the comments in the database
	@$(BIN)/python -m docs.generate

check-report: .venv/dev .venv/browser  ## Look at what `etl report` writes in a real headless Chromium
	@command -v $(CHROMIUM) >/dev/null \
		|| { echo "No Chromium: apt-get install chromium, or name one with: make check-report CHROMIUM=..."; exit 1; }
	@CHROMIUM="$$(command -v $(CHROMIUM))" $(BIN)/python -m pytest --quiet tests/browser/check_report.py

bench: .venv/dev  ## Measure a sync beside a bare boto3 loop and a script that upserts: fifteen minutes
	@$(BIN)/python -m benchmarks.sync

bench-views: .venv/dev  ## Time what analysts ask of a million jobs: four minutes, 5 GB of disk
	@$(BIN)/python -m benchmarks.views

superset-zip:  ## Make superset.zip, which Superset imports; its address is still to be filled in
	@cd deploy && $(PYTHON) -m zipfile -c ../superset.zip superset/

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
	$(COMPILE) --group browser --constraint requirements/dev.txt --output-file requirements/browser.txt
	$(COMPILE) --group deploy --output-file requirements/deploy.txt
	$(COMPILE) --group superset --output-file requirements/superset.txt
	$(COMPILE) --group dbt --output-file requirements/dbt.txt

clean:  ## Remove what make has made; data of the private Postgres stay
	rm -rf .venv .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-report.html superset.zip

# The package itself is installed in place; hatchling is among the locked requirements, so nothing unlocked is built.
.venv/demo .venv/dev: .venv/%: requirements/%.txt pyproject.toml | .venv/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

# What drives the browser stands on top: the tests that use it need all that other tests need.
.venv/browser: requirements/browser.txt .venv/dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The tools that check deploy/ have environments of their own: they are heavy, and the product never meets them. No
# dependency is looked for, since all are locked.
INTO = -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile
.venv/deploy/ready .venv/dbt/ready: .venv/%/ready: requirements/%.txt | .venv/bin/python
	@$(BIN)/python -m venv .venv/$*
	@.venv/$*/bin/python $(INTO) --only-binary :all: -r $<
	@touch $@

# Two of Superset's dependencies have no wheel. They are built with the locked setuptools, once that is there.
.venv/superset/ready: requirements/superset.txt | .venv/bin/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' \
		|| { echo "Superset needs Python 3.12 or older: remove .venv, and name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing Superset into .venv/superset, a minute or two, once ..."
	@$(BIN)/python -m venv .venv/superset
	@awk '/^[a-z]/ { source = /^(odfpy|wtforms-json)==/ } !source' $< > .venv/superset/wheels.txt
	@.venv/superset/bin/python $(INTO) --only-binary :all: -r .venv/superset/wheels.txt
	@.venv/superset/bin/python $(INTO) --no-build-isolation -r $<
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making .venv, about half a minute, once ..."
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "This Python lacks venv (Debian: apt install python3-venv)"; exit 1; }
