# Every target sets up .venv by itself; the stamp keeps it from being done twice.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
WORKERS ?= 2
# One thread per process: the matrices are small, and threads that wait for each other cost more than they save.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1

.PHONY: report test slow lint bench docs

report: $(STAMP)
	$(BIN)/mechbp report --jobs $(WORKERS)

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

slow: $(STAMP)
	$(BIN)/pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

docs: $(STAMP)
	$(BIN)/python -W ignore -m pdoc --docformat restructuredtext --no-show-source --output-directory reports/api mechbp $(addprefix mechbp.,errors hooks processes models methods theory figures report)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "mechbp needs Python 3.11, 3.12 or 3.13; say which: make PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
