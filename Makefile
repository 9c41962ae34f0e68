# `make` lists what there is to make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/requirements.lock

.PHONY: help repro grow bonsai test test-slow fuzz lint lock experiments queue remote picture parts \
	bench bench-lock
.DELETE_ON_ERROR:

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

repro: $(INSTALLED) ## run the pipeline, and print the path of the report
	@$(BIN)/python -m stages.recover
	@$(BIN)/python -m stages.dvc repro
	@cat data/overrides.txt >&2
	@echo "report: $(CURDIR)/data/report/index.html"

grow: $(INSTALLED) ## add a task and grow it (TASK=file.kiss2, .pla or .py; SET="train.steps=9000")
	@test -n "$(TASK)" || { echo "make grow: name a file, as in: make grow TASK=tasks/turnstile.kiss2" >&2; exit 2; }
	@$(BIN)/python -m stages.recover
	@$(BIN)/python -m bonsai grow "$(TASK)" $(SET)

bonsai: $(INSTALLED) ## what else there is: prove, explain, explore, show, plants
	@$(BIN)/python -m bonsai --help

test: $(INSTALLED) ## the tests, without the slow ones, on two to four cores
	@$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile

test-slow: $(INSTALLED) ## the slow tests: real gardens from scratch
	@$(BIN)/python -m pytest -m slow

fuzz: $(INSTALLED) ## every reader on 100,000 broken files and more, in twenty minutes
	@BONSAI_FUZZ=100 $(BIN)/python -m pytest tests/test_fuzz.py

lint: $(INSTALLED) ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock: no uv on the PATH; pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml --extra s3 --extra dask --group test --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock

experiments: $(INSTALLED) ## what was tried with dvc exp run: the totals, and what was overridden
	@$(BIN)/dvc exp show --only-changed --drop '.*/|.*[.](py|cl|yaml)$$|(conf|tasks|bonsai|kernels|stages)$$' --keep '^(proven|weights|biases|margin|seconds)$$'

# DVC's workers look for `dvc` on the PATH, and queued stages for `python`.
queue: $(INSTALLED) ## run what dvc exp run --queue put off, side by side, with progress (JOBS=2)
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m stages.queue $(or $(JOBS),2)

remote: $(INSTALLED) ## where dvc push and dvc pull keep artifacts (URL=../store or s3://bucket/folder)
	@test -n "$(URL)" || { echo "make remote: name a place, as in: make remote URL=../store" >&2; exit 1; }
	@$(BIN)/dvc remote add --default --local --force store "$(URL)"

picture: $(INSTALLED) ## docs/PLANT-at-work.svg, a moving picture (PLANT=ones_triple SEED=2)
	@test -n "$(PLANT)" || { echo "make picture: name a plant, as in: make picture PLANT=ones_triple" >&2; exit 1; }
	@$(BIN)/python -m stages.picture $(PLANT) docs/$(PLANT)-at-work.svg $(or $(SEED),0)

parts: ## bonsai/web/parts.js and .css anew from npm, by parts/package-lock.json (needs Node 20)
	@command -v npm >/dev/null || { echo "make parts: no npm on the PATH; install Node 20" >&2; exit 1; }
	cd parts && npm ci --no-audit --no-fund && node bundle.mjs

bench: benchmarks/.venv/requirements.lock ## training and evaluation beside the peers (BENCH=--quick)
	@benchmarks/.venv/bin/python -m benchmarks $(BENCH)

bench-lock: ## write benchmarks/requirements.lock anew (needs uv)
	@command -v uv >/dev/null || { echo "make bench-lock: no uv on the PATH; pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml benchmarks/requirements.in --extra dask -c requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o benchmarks/requirements.lock

benchmarks/.venv/requirements.lock: benchmarks/requirements.lock benchmarks/torch.txt
	@echo "Installing benchmarks/requirements.lock into benchmarks/.venv"
	@rm -f $@ && $(PYTHON) -m venv --clear benchmarks/.venv
	@benchmarks/.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@benchmarks/.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  -r benchmarks/torch.txt || echo "PyTorch is left out; see benchmarks/README.md"
	@cp $< $@.part && mv $@.part $@

# What is installed is told by a copy of the lock, written last: an interrupted installation leaves
# none and starts anew, and a checkout that only touched the lock installs nothing.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed, and $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1); name another, as in: make PYTHON=python3.12" >&2; exit 1; }
	@if cmp -s $< $@; then touch $@; else \
	  echo "Installing requirements.lock into .venv" && rm -f $@ && $(PYTHON) -m venv --clear .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< && \
	  cp $< $@.part && mv $@.part $@; fi
