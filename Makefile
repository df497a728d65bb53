# Everything runs from one virtual environment, built from the lock file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test lint simulate nemesis bench lock clean
SECONDS ?= 60

run: $(STAMP)
	$(BIN)/felix-controlplane dev --nodes 3 --brokers 3 --data-dir run/data

test: $(STAMP)
	$(BIN)/python -m $(if $(ARGS),pytest $(ARGS),tests)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Spends SECONDS of real time; 600 on two idle cores are days in the clusters' lives.
simulate: $(STAMP)
	$(BIN)/python -m tests.simulator --seconds $(SECONDS) --jobs 2

nemesis: $(STAMP)
	$(BIN)/python -m tests.nemesis --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m bench all $(ARGS)

$(STAMP): requirements.lock pyproject.toml setup.cfg
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $(STAMP)

# Resolve the newest allowed versions anew; needs pip-tools. The image gets a part of the same.
COMPILE := $(PYTHON) -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
lock:
	$(COMPILE) --extra dev --extra bench --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --only-build-deps --build-deps-for wheel \
	  --output-file deploy/build.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info
