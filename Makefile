VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# One process more than cores that a small machine has: many tests wait for processes of their own.
suite := -m "not slow" -n 3 --dist loadfile --durations=10
UV := $(or $(shell command -v uv 2>/dev/null),.venv-uv/bin/uv)

.PHONY: run test coverage test-slow faults test-unlocked test-lowest docs schemas lint lock clean

run: $(VENV)/installed
	$(BIN)/tuner run configs/nmf.yaml

test: $(VENV)/installed lint
	$(BIN)/python -m pytest $(suite)

# Which lines the suite reaches; slower by far.
coverage: $(VENV)/installed
	$(BIN)/python -m pytest $(suite) \
		--cov=tuner --cov=tuner_plugins --cov-report=term:skip-covered

# Kills, full disks, failing servers, damaged files: faults by kind, and the harm they do.
faults: $(VENV)/installed
	$(BIN)/python -m tests.faults

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m slow --timeout=1800

# Without the lock: the newest, and the lowest, of everything that pyproject.toml allows.
# Old releases use what newer ones of their own dependencies deprecate: no fault of the tuner's.
test-unlocked: resolution := highest
test-lowest: resolution := lowest-direct
test-lowest: names := python3.11
test-lowest: options := -W default::DeprecationWarning -W default::FutureWarning
test-unlocked test-lowest: $(UV)
	$(UV) venv --quiet --clear --seed --python $(python) .venv-$@
	$(UV) pip install --quiet --python .venv-$@ --upgrade --resolution $(resolution) \
		-e ".[nmf,perturbseq,dask,dev]"
	.venv-$@/bin/python -m pytest $(suite) $(options)

# The manual, in site/: opens offline, by a double click on site/index.html.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# By which editors complete and check configurations.
schemas: $(VENV)/installed
	for name in command elasticnet function nmf; do \
		$(BIN)/tuner schema $$name -o configs/schema/$$name.json || exit; done

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The newest supported Python, or the one named by PYTHON=; 3.14 after the others, since pyBigWig has
# no wheel for it and is compiled there. Every file of the name on PATH is tried:
# a version manager's placeholder that does not run may stand before a Python that does.
names := python3.13 python3.12 python3.11 python3.14 python3
path := $(subst :, ,$(PATH))
pythons = $(or $(PYTHON),$(foreach name,$(names),$(wildcard $(addsuffix /$(name),$(path)))))
usable := import sys; from importlib.util import find_spec; v = sys.version_info[:2]; \
	(3, 11) <= v <= (3, 14) or sys.exit("is Python %d.%d" % v); \
	find_spec("ensurepip") or sys.exit("has no ensurepip (Debian: apt install python3-venv)")
search = for python in $(pythons); do \
	if why=$$("$$python" -c '$(usable)' 2>&1); then echo "$$python"; exit; fi; \
	tried="$$tried; $$python: $$(echo "$$why" | head -n 1)"; \
	done; echo "none$${tried:-; there is no python3 on PATH}"
found = $(shell $(search))
python = $(if $(filter none%,$(found)),$(error expected Python 3.11 to 3.14 with venv and pip; \
	install one, or name one by PYTHON=path; found $(found)),$(found))

# Made anew whenever the lock changes, and after an interruption. A lock is complete, so nothing is
# left to resolve; before 23.3 pip's resolver fails on pinned requirements with extras.
$(VENV)/locked: requirements.lock
	$(python) -m venv --clear $(VENV)
	$(if $(PIP_VERSION),$(PIP) install pip==$(PIP_VERSION))
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	touch $@

$(VENV)/installed: $(VENV)/locked pyproject.toml
	$(PIP) install --no-deps --no-build-isolation -e .
	$(PIP) check
	touch $@

# Keeps the pins that still hold; `make lock UPGRADE=--upgrade` takes the newest of everything.
lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --no-strip-extras \
		--generate-hashes $(UPGRADE) \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock

.venv-uv/bin/uv:
	$(python) -m venv --clear .venv-uv
	.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf .venv .venv-* site
	find plugins -name '*.nb[ic]' -delete
