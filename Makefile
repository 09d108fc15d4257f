# Two commands: `make book` builds the book, `make test` checks it. `make help` lists the rest.

# The environment: made here by default. VENV=/path/to/yours uses one that you have; what it lacks is installed there.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
READY = $(VENV)/.ready-for-the-book
# A second environment, with the versions of Colab and, where it is found, its Python.
VENV_COLAB ?= .venv-colab
PYTHON_COLAB ?= $(shell python3.13 --version >/dev/null 2>&1 && echo python3.13 || echo $(PYTHON))
READY_COLAB = $(VENV_COLAB)/.ready-for-the-book
# A third one for nbgrader, which makes and grades the assignments. The book's environment executes them.
VENV_GRADING ?= .venv-grading
READY_GRADING = $(VENV_GRADING)/.ready-for-the-book
GRADING = BOOK_PYTHON=$(abspath $(BIN)/python) $(VENV_GRADING)/bin/python notebooks/assignments
PORT ?= 8000
# The tests have the rights of an ordinary user: root could write where a reader cannot.
ORDINARY = $(shell test "$$(id -u)" != 0 || echo setpriv --bounding-set=-all --inh-caps=-all)

.PHONY: help book test colab env lint format serve pdf lighthouse record bench assignments grade test-assignments fork picture clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

book: $(READY) ## execute the notebooks that changed and build _build/html
	$(BIN)/python book/build.py

test: $(READY) lint ## everything that must hold: lint, unit tests, every notebook, the site
	$(ORDINARY) $(BIN)/python -m pytest tests --ignore=tests/site --ignore=tests/colab --ignore=tests/assignments -n auto
	$(BIN)/python book/build.py
	$(ORDINARY) $(BIN)/python -m pytest tests/site

colab: $(READY) $(READY_COLAB) ## run every notebook as Colab would, with its versions (6 GB more)
	COLAB_PYTHON=$(VENV_COLAB)/bin/python $(ORDINARY) $(BIN)/python -m pytest tests/colab

env: $(READY) ## make the environment (about 6 GB)

$(READY): requirements.txt requirements-nodeps.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say: make PYTHON=python3.12 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-nodeps.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

# Made anew when the versions change, so that nothing of the old ones stays. Colab holds no jedi, though IPython asks for it.
$(READY_COLAB): tests/colab_versions.txt
	@$(PYTHON_COLAB) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || \
		echo "NOTE: Colab has Python 3.13, which is not found here. Its packages are tried on $$($(PYTHON_COLAB) --version)."
	$(PYTHON_COLAB) -m venv --clear $(VENV_COLAB)
	$(VENV_COLAB)/bin/python -m pip install --quiet -r tests/colab_versions.txt
	$(VENV_COLAB)/bin/python -m pip uninstall --quiet --yes jedi
	@touch $@

$(READY_GRADING): notebooks/assignments/requirements.txt
	$(PYTHON) -m venv --clear $(VENV_GRADING)
	$(VENV_GRADING)/bin/python -m pip install --quiet -r $<
	@touch $@

lint: $(READY) ## ruff on the package, the tests and the notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## let ruff rewrite what lint would refuse
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: book ## show the book at http://localhost:8000 (PORT=… for another)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

lighthouse: book ## measure the site with Lighthouse (needs Node.js): PAGES="book/intro …" for others, RUNS=3 runs each
	PAGES="$(PAGES)" RUNS=$(or $(RUNS),3) $(BIN)/python book/lighthouse.py

pdf: book ## print the whole book into one PDF with a Chromium or Chrome
	$(BIN)/python book/pdf.py

AT_ONCE ?= 2
record: $(READY) ## make the recorded runs again, AT_ONCE=2 networks at a time: on a GPU, or smaller ones on a CPU
	$(BIN)/python -m resnet_utils record --at-once $(AT_ONCE) $(if $(SCALE),--scale $(SCALE))

bench: $(READY) ## compare the training loop with that of an ordinary tutorial, on CIFAR-10
	$(BIN)/python -m resnet_utils bench --output _build/bench.json

assignments: $(READY) $(READY_GRADING) ## make what students get out of the assignments: notebooks/assignments/release
	$(GRADING)/release.py

grade: $(READY) $(READY_GRADING) ## SUBMISSIONS=folder: grade STUDENT/ASSIGNMENT.ipynb in it, into _grades
	$(GRADING)/grade.py "$(SUBMISSIONS)"

test-assignments: $(READY) $(READY_GRADING) ## grade right, wrong and broken submissions of every assignment
	GRADING_PYTHON=$(VENV_GRADING)/bin/python BOOK_PYTHON=$(abspath $(BIN)/python) $(ORDINARY) $(BIN)/python -m pytest tests/assignments

fork: $(READY) ## URL=https://github.com/you/repository: put your address in the place of the old one, everywhere
	$(BIN)/python book/fork.py "$(URL)"

picture: book ## renew the README's picture from chapter 9
	$(BIN)/python book/picture.py

clean: ## remove what was built and executed; the environment stays
	rm -rf _build _executed
