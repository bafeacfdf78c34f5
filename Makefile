# What one types: `make run`, `make test`. Kept to what GNU make 3.81 can do, which macOS ships.

.PHONY: help run test test-fast test-cluster fuzz screenshots lint bench python

NEW_ENOUGH := -c "import sys; sys.exit(sys.version_info < (3, 11))"

# The Python of .venv, else the newest that the dependencies have wheels for, or the one given as
# PYTHON=. Each is tried by running it: pyenv has a program even for versions that are not there.
ifndef PYTHON
PYTHON := $(shell for python in \
	.venv/bin/python python3.13 python3.12 python3.11 python3.14 python3; \
	do $$python $(NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)
endif

# `exec`, here and below, so that a signal reaches the program and not a shell around it.
SET_UP = exec $(PYTHON) llama_chatbot/launch/bootstrap.py

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s  %s\n", $$1, $$2}' Makefile

run: python ## install what is missing and serve on PORT (default 8000) until Ctrl-C
	@$(SET_UP) run
	@exec .venv/bin/python -m llama_chatbot.launch

# Two at a time, each with servers of its own; a file's tests stay together, as they share some.
test: python ## run the tests; pytest's own arguments go in ARGS="..."
	@$(SET_UP) tools
	@exec .venv/bin/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: python ## run the tests that start no processes, in under a minute; ARGS as above
	@$(SET_UP) tools
	@exec .venv/bin/python -m pytest -rs -m "not process" -n 2 --dist loadfile $(ARGS)

test-cluster: python ## kill and hang each part of two hosts in turn, and print what users saw
	@$(SET_UP) tools
	@exec .venv/bin/python -m pytest -n 0 -q -s llama_chatbot/tests/test_cluster.py $(ARGS)

fuzz: python ## call the API with thousands of generated requests, valid and not; takes minutes
	@$(SET_UP) tools
	@FUZZ=whole exec .venv/bin/python -m pytest -rs -n 2 llama_chatbot/tests/test_schemathesis.py

screenshots: python ## photograph the page and the admin into screenshots/, and for the README; ARGS as above
	@$(SET_UP) tools
	@exec .venv/bin/python -m pytest -rs -n 2 web/tests/screenshots.py $(ARGS)

lint: python ## run the linters and the type checker
	@$(SET_UP) tools
	@exec .venv/bin/python -m ruff check .
	@exec .venv/bin/python -m ruff format --check .
	@exec .venv/bin/lint-imports
	@exec .venv/bin/python -m mypy .
	@exec .venv/bin/python -m mypy examples/*.py
	@exec .venv/bin/python -m bandit -q -c pyproject.toml -r .

bench: python ## measure; which benchmark, and its arguments, go in ARGS="..."
	@$(SET_UP) tools
	@exec .venv/bin/python -m benchmarks $(ARGS)

# Here and not in bootstrap.py, whose syntax an old Python may not even parse.
python:
	@{ $(PYTHON) $(NEW_ENOUGH); } 2>/dev/null || { \
	echo 'Python 3.11 or newer is needed$(if $(PYTHON), and $(PYTHON) is not): install it, or name it with PYTHON=/path/to/python3' >&2; \
	exit 1; }
