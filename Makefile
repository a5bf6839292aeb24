# Six verbs for people who work on Backbeat (setup check test chaos bench docs), one for people who
# want to see it (demo), and a little upkeep. Needs Python 3.11 or newer; everything else is installed
# into .venv, from locks with hashes, and only when a lock has changed.

# The first of these that is new enough; name another with PYTHON=…
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV   := .venv
RUN    := $(VENV)/bin/python
OURS   := agents alerts api backtest bench cli engine importers ml models simulate storage tables
CODE   := $(sort $(dir $(wildcard $(addsuffix /*.py,$(OURS))))) $(wildcard faust_app.py)
LOCK   := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE)
ARGS   ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check format test chaos bench docs demo lock clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.dev ## install everything a developer needs into .venv

check: $(VENV)/.dev ## lint, types, and the import arrows
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(if $(CODE),$(VENV)/bin/mypy $(CODE),@echo "mypy: nothing to check yet")
	$(RUN) -m pytest -q tests/test_layers.py tests/test_repository.py

format: $(VENV)/.dev ## let ruff fix and format the code
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .

test: $(VENV)/.dev ## the whole suite; parts whose tool is missing are skipped, with the reason (ARGS=…)
	$(RUN) -m pytest -rs $(ARGS)

chaos: $(VENV)/.dev ## kills, zombies, outages at full size; goes on where it was (SCENARIO=… SEED=… EVENTS=…)
	CHAOS_SIZE=long SCENARIO=$(SCENARIO) SEED=$(SEED) EVENTS=$(EVENTS) $(RUN) -m pytest tests/chaos -m chaos -s $(ARGS); \
	  code=$$?; $(RUN) -m tests.support.chaos_results; exit $$code

bench: $(VENV)/.dev ## benchmarks (ARGS=… chooses; none lists them)
	$(RUN) -m bench $(ARGS)

docs: $(VENV)/.dev ## write the generated parts of the docs anew
	$(RUN) -m cli docs $(ARGS)

demo: $(VENV)/.runtime ## the whole system on this machine, in one command (stop with Ctrl-C)
	$(RUN) -m cli up $(ARGS)

lock: $(VENV)/bin/uv ## resolve pyproject.toml into the locks (UPGRADE=--upgrade takes newer versions)
	$(LOCK) --group setup pyproject.toml -o requirements.lock
	$(LOCK) --group setup --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(LOCK) --group bench -o bench/engine/requirements.lock
	$(LOCK) --group bench-forecast -o bench/forecast/requirements.lock

clean: ## remove .venv and what tools leave; the cache of test servers stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.cache/*' -prune -exec rm -rf {} +

# uv installs in seconds what pip takes a minute for. Its own hash is taken from the lock. Where uv
# cannot reach the packages (it does not read pip's configuration), pip tries.
$(VENV)/bin/uv:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Backbeat needs Python 3.11 or newer, and found $(if $(PYTHON),$(PYTHON),none on the PATH)." \
	       "Name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@awk '/^[a-z]/ {keep = /^uv==/} keep' requirements.lock > $(VENV)/uv.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock

define install
	@echo "installing from $< (once per change of the lock)"
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --quiet --require-hashes -r $< \
	  || $(RUN) -m pip install --quiet --require-hashes -r $<
	@touch $@
endef

$(VENV)/.runtime: requirements.lock | $(VENV)/bin/uv
	$(install)

$(VENV)/.dev: requirements-dev.lock | $(VENV)/bin/uv
	$(install)
	@touch $(VENV)/.runtime
