# Everything happens in .venv/ at the root of the checkout; a second run of any target starts at once.
#
# On Linux without a CUDA device, take the small build of torch (hundreds of MB instead of several GB):
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PACKAGES := selector envs policies
# One thread and one core for each worker: the models of the tests are too small to be worth two.
WORKERS ?= 2
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint docs package bench bench-search bench-neighbours bench-peers llama-server \
	constraints clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## Make .venv and install shotsmith, its tools and the bundled models and data

demo: $(STAMP)  ## Run the whole story on bundled real data; results go to demo-output/
	$(BIN)/shotsmith demo --out demo-output

test: lint  ## Lint, then run all tests but the slow ones; at least 85 % of the code must be covered
	$(PYTEST) -m "not slow" --cov --cov-fail-under=85

test-slow: $(STAMP)  ## Run the tests that take minutes
	$(PYTEST) -m slow

lint: $(STAMP)  ## Check style, format, types, the layout rule and docstrings against signatures
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pydoclint --quiet $(PACKAGES)

docs: $(STAMP)  ## Build the documentation into site/; a broken link or docstring is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

package: $(STAMP)  ## Build the source distribution and the wheel into dist/
	$(BIN)/python -m build --no-isolation

bench: $(STAMP)  ## Measure the inference engine, and its peers where installed; writes benchmarks/results/ and docs/engine.md
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.engine
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.linear
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.breakdown
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.killed
	$(BIN)/python -m benchmarks.figures

bench-search: $(STAMP)  ## Measure how fast and how near the indexes search up to a million vectors; goes on where it stopped
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.search

bench-neighbours: $(STAMP)  ## Measure how fast neighbours are found, next to LangChain and DSPy where installed
	$(BIN)/python -m benchmarks.neighbours

bench-peers: .venv-peers/.installed  ## Install what we are measured against, each in an environment of its own

.venv-peers/.installed: $(wildcard benchmarks/peers/*.txt) constraints.txt
	$(PYTHON) -m venv .venv-peers/lm-eval
	.venv-peers/lm-eval/bin/python -m pip install -c constraints.txt -r benchmarks/peers/lm-eval.txt
	$(PYTHON) -m venv .venv-peers/openicl
	.venv-peers/openicl/bin/python -m pip install -c constraints.txt -r benchmarks/peers/openicl.txt
	.venv-peers/openicl/bin/python -m pip install --no-deps openicl==0.1.8
	$(PYTHON) -m venv .venv-peers/langchain
	.venv-peers/langchain/bin/python -m pip install -c constraints.txt -r benchmarks/peers/langchain.txt
	$(PYTHON) -m venv .venv-peers/dspy
	.venv-peers/dspy/bin/python -m pip install -c constraints.txt -r benchmarks/peers/dspy.txt
	@touch $@

llama-server: $(STAMP)  ## Compile llama.cpp's server (8 minutes on two cores) and test the server backend against it
	$(PYTHON) -m venv .venv-peers/llama-cpp
	.venv-peers/llama-cpp/bin/python -m pip install -r benchmarks/peers/llama-cpp.txt
	$(PYTEST) -m slow tests/selector/lm/test_real_server.py

constraints: $(STAMP)  ## Write what is installed in .venv to constraints.txt
	@{ sed -n '/^#/p' constraints.txt; \
	$(BIN)/python -m pip freeze --all --exclude-editable \
		| grep -viE "^(pip|wheel|$$(sed -nE 's/^([A-Za-z0-9-]+)==.*/\1/p' bundled.txt | paste -sd '|' -))==" \
		| sed -E 's/\+[A-Za-z0-9.]+$$//'; } > constraints.new
	@mv constraints.new constraints.txt && touch $(STAMP)

clean:  ## Delete caches, build outputs and demo-output/; .venv/ and runs/ stay
	rm -rf build dist site demo-output htmlcov .coverage coverage.xml .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find $(PACKAGES) scripts benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt bundled.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing); shotsmith needs Python 3.11 or newer." \
			"Name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -r bundled.txt
# haystack-ai brings docstring_parser, which writes over pydoclint's fork of it; the fork has all that the original has.
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --force-reinstall -c constraints.txt docstring_parser_fork
	@touch $@
