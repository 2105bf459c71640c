# Each target starts from nothing: it makes .venv, installs what is pinned and fetches what it needs. ARGS='…' passes options on.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python

.PHONY: help demo test test-unit setup check fuzz bench bench-accuracy chaos soak demo-bundle locks clean
help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: .venv/.demo  ## real events through a real Kafka: recommendations and explanations in this terminal
	@$(BIN)/streamrec demo $(ARGS)

test: .venv/.all  ## every test, on a real Kafka
	@$(BIN)/pytest $(ARGS)

test-unit: .venv/.all  ## the tests without I/O, in seconds
	@$(BIN)/pytest tests/unit $(ARGS)

setup: .venv/.all  ## everything, training included (torch brings 5 GB)

check: .venv/.all  ## lint, types, import contract
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

fuzz: .venv/.fuzz  ## bytes bred by coverage for everything that reads bytes; ARGS='--seconds N'
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench: .venv/.all  ## latency and cost, beside their limits
	@$(BIN)/python -m benchmarks $(ARGS)

bench-accuracy: .venv/.all .venv-peers/.done  ## accuracy for the CPU minutes, beside RecTools' models (--data, --minutes, --seeds)
	@$(BIN)/python -m benchmarks.accuracy $(ARGS)


chaos: .venv/.all  ## everything going wrong on three real brokers; nothing may be lost or wrong
	@$(BIN)/python -m chaos $(ARGS)

soak: .venv/.all  ## an hour at half load: memory, file handles, nothing lost
	@$(BIN)/python -m chaos.soak $(ARGS)

demo-bundle: .venv/.all  ## trains the bundle that the demo ships, from the first five days of its log
	$(BIN)/python -m streamrec.demo.make_bundle

locks: .venv/.uv  ## pins anew what pyproject.toml asks for
	$(BIN)/python requirements/lock.py

clean:  ## removes .venv (caches of jars and packages stay)
	rm -rf .venv .venv-peers

# Installing goes to stderr: with --json, standard output holds one object and nothing else.
.venv/.uv: requirements/bootstrap.lock
	@echo "streamrec: making .venv" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

.venv/.demo: requirements/demo.lock pyproject.toml .venv/.uv
	@echo "streamrec: installing what the demo needs (about 150 MB, once)" >&2
	@$(INSTALL) -r $< >&2
	@$(INSTALL) --no-deps -e . >&2
	@touch $@

.venv/.all: requirements/all.lock pyproject.toml .venv/.uv
	@echo "streamrec: installing everything, training included (5 GB, once)" >&2
	@$(INSTALL) -r $< >&2
	@$(INSTALL) --no-deps -e . >&2
	@touch $@ .venv/.demo

# The peers need older packages than we do, so they have an environment of their own.
.venv-peers/.done: requirements/peers.lock .venv/.uv
	@echo "streamrec: installing the peers (5 GB, once)" >&2
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv --without-pip .venv-peers
	@$(BIN)/uv pip install --quiet --python .venv-peers/bin/python -r $< >&2
	@touch $@

.venv/.fuzz: requirements/fuzz.lock .venv/.all
	@$(INSTALL) -r $< >&2
	@touch $@
