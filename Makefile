# Two commands: `make book` builds the book, `make test` checks it. `make help` lists the rest.

# The environment: made here by default. VENV=/path/to/yours uses one that you have; what it lacks is installed there.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
READY = $(VENV)/.ready-for-the-book
PORT ?= 8000
# The tests have the rights of an ordinary user: root could write where a reader cannot.
ORDINARY = $(shell test "$$(id -u)" != 0 || echo setpriv --bounding-set=-all --inh-caps=-all)

.PHONY: help book test env lint format serve record bench fork picture clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

book: $(READY) ## execute the notebooks that changed and build _build/html
	$(BIN)/python book/build.py

test: $(READY) lint ## everything that must hold: lint, unit tests, every notebook, the site
	$(ORDINARY) $(BIN)/python -m pytest tests --ignore=tests/site -n auto
	$(BIN)/python book/build.py
	$(ORDINARY) $(BIN)/python -m pytest tests/site

env: $(READY) ## make the environment (about 6 GB)

$(READY): requirements.txt requirements-nodeps.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say: make PYTHON=python3.12 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-nodeps.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

lint: $(READY) ## ruff on the package, the tests and the notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## let ruff rewrite what lint would refuse
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: book ## show the book at http://localhost:8000 (PORT=… for another)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

AT_ONCE ?= 2
record: $(READY) ## make the recorded runs again, AT_ONCE=2 networks at a time: on a GPU, or smaller ones on a CPU
	$(BIN)/python -m resnet_utils record --at-once $(AT_ONCE) $(if $(SCALE),--scale $(SCALE))

bench: $(READY) ## compare the training loop with that of an ordinary tutorial, on CIFAR-10
	$(BIN)/python -m resnet_utils bench --output _build/bench.json

fork: $(READY) ## URL=https://github.com/you/repository: put your address in the place of the old one, everywhere
	$(BIN)/python book/fork.py "$(URL)"

picture: book ## renew the README's picture from chapter 9
	$(BIN)/python book/picture.py

clean: ## remove what was built and executed; the environment stays
	rm -rf _build _executed
