# `make demo` shows what it does; `make test` checks that it does. Each sets up what it needs in .venv.

PYTHON ?= python3
VENV := $(CURDIR)/.venv
LABEXTENSION := ml_experiment_nb/labextension/package.json
export PATH := $(VENV)/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH VIRTUAL_ENV
unexport MLFLOW_TRACKING_URI MLFLOW_EXPERIMENT_NAME ML_EXPERIMENT_ROOT

.NOTPARALLEL:
.PHONY: help demo labextension test lint lint-labextension test-labextension test-quick test-real test-browser test-docker \
	test-frameworks screenshots docs bench bench-search bench-peers bench-quick bench-all clean

help:  ## Say what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/for-demo  ## Install the project, search the paper's example, run a notebook headless.
	ml-experiment run examples/paper/svm_group.yaml
	@mkdir -p build
	ml-experiment run -q examples/notebooks/01_first_experiment.ipynb build/01_first_experiment.ipynb -p C 5
	@echo
	@echo "The runs:      .venv/bin/ml-experiment ls"
	@echo "Their page:    .venv/bin/ml-experiment ui"
	@echo "The notebook:  build/01_first_experiment.ipynb, executed with C = 5"

labextension: $(VENV)/labextension  ## Build JupyterLab's extension and link it in .venv.

test: lint test-labextension test-quick test-real test-browser test-docker test-frameworks  ## Install what the tests need, check, run every test.

lint: $(VENV)/for-tests  ## Check the code's form, types and imports.
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory lint-labextension; \
		else echo "labextension/ was not checked: there is no Node" >&2; fi

lint-labextension: labextension/node_modules/for-build
	cd labextension && npm run --silent lint

test-labextension:  ## Run the tests of JupyterLab's extension that need no browser, if there is Node.
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory labextension/node_modules/for-build && \
		cd labextension && npm run --silent test; else echo "labextension/ was not tested: there is no Node" >&2; fi

test-quick: $(VENV)/for-tests  ## Run the tests that need neither kernels nor Ray.
	pytest -q -n 2 -m "not ray and not kernel and not slow and not frameworks and not browser and not docker"

test-real: $(VENV)/for-tests  ## Run the tests with real kernels, Ray and notebooks.
	pytest -q -n 2 --dist worksteal -m "(ray or kernel or slow) and not frameworks and not browser and not docker"

test-browser: $(VENV)/for-tests  ## Run the tests with JupyterLab in a real Chromium.
	@python tests/engine.py fetch || echo "so the test of an image is skipped" >&2
	pytest -q -n 2 --dist loadfile -m browser tests/browser

test-docker: $(VENV)/for-tests  ## Run the tests with a real Docker engine, which they start.
	@python tests/engine.py fetch || echo "so the tests that need one are skipped" >&2
	pytest -q -m "docker and not browser"

screenshots: $(VENV)/for-tests  ## Take the pictures of JupyterLab that the docs show.
	PYTHONPATH=tests python tests/browser/screenshots.py

test-frameworks: $(VENV)/for-frameworks  ## Run the tests with torch, XGBoost, LightGBM, Keras and the rest.
	pytest -q -n 2 --dist worksteal -m frameworks

docs: $(VENV)/for-tests  ## Make the documentation a site, in docs/_build.
	sphinx-build -q -W -b html docs docs/_build

bench: $(VENV)/for-tests  ## Measure what starting takes: the extension, the command, and a fork of 1 GB.
	python benchmarks/start_time.py
	python benchmarks/fork_cost.py

bench-search: $(VENV)/for-tests  ## Measure what a parallel search finds, against Optuna in a row (six minutes).
	python benchmarks/search_quality.py

bench-peers: $(VENV)/for-tests  ## Measure notebooks and trials beside papermill, Optuna and Ray Tune (half an hour).
	uv pip install --quiet --compile-bytecode --python $(VENV) --editable '.[bench]'
	python benchmarks/notebook_parts.py
	python benchmarks/notebooks_per_minute.py
	python benchmarks/trial_overhead.py

bench-quick: $(VENV)/for-tests  ## Measure the most telling of it beside the peers, roughly (some minutes).
	uv pip install --quiet --compile-bytecode --python $(VENV) --editable '.[bench]'
	python benchmarks/all.py --quick

bench-all: $(VENV)/for-frameworks  ## Run every benchmark beside its peers, and write what they say to build/benchmarks.md.
	uv pip install --quiet --compile-bytecode --python $(VENV) --editable '.[bench]'
	python benchmarks/all.py

clean:  ## Remove the environment and all that was built; recorded runs stay.
	rm -rf labextension/node_modules labextension/lib ml_experiment_nb/labextension
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml when what it stands for is installed.

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet uv

$(VENV)/for-demo: $(VENV)/bin/uv pyproject.toml
	ML_EXPERIMENT_NB_SKIP_LABEXTENSION=1 \
		uv pip install --quiet --compile-bytecode --python $(VENV) --editable '.[examples]'
	@touch $@

$(VENV)/for-tests: $(VENV)/for-lab $(VENV)/labextension
	@touch $@

$(VENV)/for-lab: $(VENV)/bin/uv pyproject.toml | $(LABEXTENSION)
	uv pip install --quiet --compile-bytecode --python $(VENV) --editable '.[test,lab]'
	@touch $@ $(VENV)/for-demo

# JupyterLab's extension is linked, not copied, so that it is never old. Without Node here it is what the install has
# built with a Node from PyPI.

$(VENV)/labextension: $(LABEXTENSION) | $(VENV)/for-lab
	@mkdir -p $(VENV)/share/jupyter/labextensions
	ln -sfn $(CURDIR)/ml_experiment_nb/labextension $(VENV)/share/jupyter/labextensions/ml-experiment-nb
	@touch $@

$(LABEXTENSION): $(shell find labextension/src labextension/style labextension/*.json -type f)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory labextension/node_modules/for-build && \
		cd labextension && npm run --silent build:prod && touch ../$@; fi

labextension/node_modules/for-build: labextension/package-lock.json
	cd labextension && npm ci --ignore-scripts
	@touch $@

# torch comes first, by pip: what depends on it then takes it as it is. xgboost-cpu is XGBoost without 700 MB for GPUs,
# tensorflow-cpu TensorFlow without theirs; fastai comes without its torchvision, which is for GPUs, and its spacy.
$(VENV)/for-frameworks: $(VENV)/for-tests
	python -m pip install --quiet torch==2.13.0
	uv pip install --quiet --compile-bytecode --python $(VENV) xgboost-cpu lightgbm tensorflow-cpu lightning \
		--editable '.[test,lab,distributed]'
	uv pip install --quiet --python $(VENV) --no-deps fastai
	uv pip install --quiet --python $(VENV) fastcore fastdownload fastprogress fasttransform matplotlib pillow scipy
	@touch $@
