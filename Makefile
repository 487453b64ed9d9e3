# Each target sets up what it needs; only Python >= 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: venv demo test check bench mutation partition-table snapshots soak-sim clean

venv: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 -e '.[server,dev]'
	touch $@

demo: venv
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/hubdeck demo; else $(BIN)/hubdeck demo --tour; fi

# Last what needs both cores to itself: fleets of a fast profile.
test: venv
	HUBDECK_SEEDS=2000 $(BIN)/python -m pytest tests -m 'not real' -n 2 --dist worksteal --seeds 2000
	$(BIN)/python -m pytest tests -m 'real and not alone' -n 2 --dist loadfile
	$(BIN)/python -m pytest tests -m alone

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests -m 'not real and not slow' -n 2 --dist worksteal

partition-table: venv
	$(BIN)/python -m pytest tests --fault-report docs -n 2 --dist loadfile

# Goes on where it stopped; HUBDECK_SEEDS says how many (100000). A failure prints its seed and trace.
soak-sim: venv
	$(BIN)/python -m tests.support.soak delivery
	$(BIN)/python -m tests.support.soak lease

# Which small changes of delivery's decisions and of the spool no test notices: docs/mutation.md. About an hour.
DELIVERY := hubagent.core.delivery hubagent.core.delivery_events hubagent.core.delivery_state \
	hubagent.core.delivery_resync hubagent.core.delivery_stream hubagent.core.retention
mutation: venv
	nice -n 19 $(BIN)/python -m tests.support.mutation $(DELIVERY) \
		--tests tests/unit/test_delivery.py tests/unit/test_retention.py --jobs 2
	nice -n 19 $(BIN)/python -m tests.support.mutation hubagent.edges.spool_store hubagent.edges.spool_repair \
		--tests tests/unit/test_spool_store.py --late tests/property/test_spool_property.py --jobs 2
	nice -n 19 $(BIN)/python -m tests.support.mutation hubagent.edges.spool --tests tests/integration/test_spool.py \
		--late tests/integration/test_spool_thread.py tests/integration/test_spool_command.py --jobs 2

bench: venv
	for b in bench/*.py; do $(BIN)/python $$b --quick || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info
