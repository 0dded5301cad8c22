# Every target sets up .venv by itself; the stamp keeps it from being done twice. Python compiles what is used, as it is used:
# compiling all that is installed would take longer than installing it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BIN4 := .venv4/bin
STAMP4 := .venv4/.installed
WORKERS ?= 2
# One thread per process: the matrices are small, and threads that wait for each other cost more than they save.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
# Compiled modules are kept, whatever the machine is set to: the tests start hundreds of processes, and compiling takes a minute of each run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: report test test-4 slow long lint bench docs tutorials axe

report: $(STAMP)
	$(BIN)/mechbp report --jobs $(WORKERS)

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# What depends on the model class, on the line of TransformerLens that has none; the tests themselves are those of `make test`.
test-4: $(STAMP4)
	$(BIN4)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/test_hooks.py tests/test_hook_check.py tests/test_bridges.py \
		$(filter-out $(addprefix tests/models/test_,$(addsuffix .py,damage crash_safety fixed_sets starting checkpoint families llc_records recipes table_recipes schedule)),$(wildcard tests/models/test_*.py)) \
		tests/models/compiled/test_bp.py tests/models/compiled/test_relu_width.py tests/models/compiled/test_part_hooks.py \
		tests/methods/patching tests/methods/interchange tests/methods/circuits

# Only files that have such a test are read: the others would double the time before the first one starts.
slow: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "slow and not long" $$(grep -rl 'mark\.slow' tests --include='test_*.py')

# Generators and kills at their full counts: hours, for a release or a suspicion.
long: $(STAMP)
	$(BIN)/pytest -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

docs: $(STAMP)
	$(BIN)/python -W ignore -m pdoc --docformat restructuredtext --no-show-source --output-directory reports/api mechbp $(addprefix mechbp.,errors hooks hook_check processes models methods theory figures report)

# Each tutorial as a notebook with its outputs, and the page that it writes.
tutorials: $(STAMP)
	mkdir -p reports/tutorials
	for script in analyses/tutorials/*.py; do \
		$(BIN)/jupytext --quiet --to notebook --output reports/tutorials/$$(basename $$script .py).ipynb $$script || exit 1; \
	done
	cd reports/tutorials && for notebook in *.ipynb; do ../../$(BIN)/jupyter execute --inplace $$notebook || exit 1; done

# What the tests hold pages against for readers who use a keyboard or a screen reader; without it those tests are skipped.
axe: node_modules/axe-core/axe.min.js

node_modules/axe-core/axe.min.js:
	npm install --no-save --no-package-lock --no-audit --no-fund --silent axe-core@4

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "mechbp needs Python 3.11, 3.12 or 3.13; say which: make PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $@

$(STAMP4): pyproject.toml
	test -x $(BIN4)/python || $(PYTHON) -m venv .venv4
	$(BIN4)/python -m pip install --quiet --no-compile --editable '.[test]' 'transformer-lens>=4,<5'
	touch $@
