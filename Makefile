# Every target sets up what it needs, in .venv and in the user's cache.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# CI fails without one of these; anybody else is told how to get it, and the tests skip it.
RUNTIMES := micropython micropython-armhf micropython-picow-like estserver estclient pki nginx haproxy \
	wpa_supplicant hostapd

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint bench size mpy heap emulated fuzz soak drawings release lower-bounds factory-demo deb clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | \
	while IFS='|' read -r target text; do printf '%-15s %s\n' "$$target" "$$text"; done

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "mpest needs Python 3.11 or later; name one: make PYTHON=python3.13 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "$(PYTHON) has no venv; on Debian: apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(READY) ## Make .venv and get MicroPython
	@$(BIN)/python -m mpest.runtimes || [ "$$CI" != true ]

demo: setup ## Enrol a simulated board with a test server
	@$(BIN)/mpest demo

test: $(READY) ## Run all tests
	@$(BIN)/python -m mpest.runtimes $(RUNTIMES) || [ "$$CI" != true ]
	$(BIN)/pytest -n 3 --dist worksteal --ignore tests/emulated

lint: $(READY) ## Check style, types and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell

bench: $(READY) ## Compare P-256 with other libraries, some minutes, enrolments with libest's client and server, beside a ticker, boards at one port and at eight, and an agent on Linux
	@$(BIN)/python tests/bench.py
	@$(BIN)/python tests/bench_enrolment.py
	@$(BIN)/python tests/bench_asyncio.py
	@$(BIN)/python tests/bench_serving.py
	@$(BIN)/python tests/bench_station.py
	@$(BIN)/python tests/bench_agent.py

size: $(READY) ## Measure each device module compiled
	@$(BIN)/python tests/size.py

mpy: $(READY) ## Compile the device package for each board, for mip, ROMFS and copying
	@$(BIN)/python -m mpest.packages build/packages

heap: $(READY) ## Find the smallest heap that enrols, some minutes (QUICK=1: check the budgets)
	@$(BIN)/python tests/heap.py $(if $(QUICK),--quick)
	@$(BIN)/python tests/heap_station.py $(if $(QUICK),--quick)

emulated: $(READY) ## Run real firmware on emulated boards
	$(BIN)/pytest -n 2 tests/emulated

fuzz: $(READY) ## Fuzz the parsers, SECONDS each (60)
	@$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60)

soak: $(READY) ## Cut, break and age boards in every way, whole; hours
	@$(BIN)/python tests/faults/soak.py

release: setup ## Check, build and try wheel, sdist and packages in dist; no upload
	@$(BIN)/python tests/release.py

drawings: ## Draw docs/*.svg as docs/*.dot says, by graphviz
	@command -v dot >/dev/null || \
	{ echo "graphviz is missing; on Debian: apt install graphviz" >&2; exit 2; }
	@for source in docs/*.dot; do dot -Tsvg -o "$${source%.dot}.svg" "$$source"; done

lower-bounds: $(READY) ## Run host tests with the oldest dependencies that are allowed
	@$(BIN)/python tests/lower_bounds.py

factory-demo: $(READY) ## Make four emulated boards at two stations, one killed, one unplugged
	@$(BIN)/python tests/factory_demo.py

deb: $(READY) ## Build the Debian package, build/deb
	@$(BIN)/python packaging/deb.py

clean: ## Remove .venv and all that was built
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
