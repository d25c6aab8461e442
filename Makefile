# make demo   the whole path on synthesised speech: train, export, run, report the energy (under ten minutes)
# make test   every test that takes seconds; `make test-slow` adds those that take minutes, and draws other examples
# make fuzz   a thousand damaged files of each kind; `make mutants` puts every fault into the emulator
# make ccode  500 random graphs in C, compiled with every check, against the emulator of the C code
# make test-peers  counts and graphs against NeuroBench, SpikingJelly, SANA-FE, sinabs and Rockpool, in an environment of their own
# make check  formatting, lint, layers, types, documentation, known vulnerabilities of what is pinned
#
# make tools  compilers and QEMU for the C target, where that is possible (root on Debian or Ubuntu)
#
# The environment is made once, in .venv, from pyproject.toml and constraints.txt.

VENV ?= .venv
PYTHON ?=
WORKERS ?= 2
TEST_ARGS ?=

bin := $(VENV)/bin
ready := $(VENV)/.ready
sources := pyproject.toml constraints.txt

.PHONY: help demo tools test test-slow fuzz mutants ccode test-peers lava check format docs clean distclean

help:
	@sed -n '/^#/!q; s/^# *//p' Makefile

# The first interpreter of 3.11 or later that can also make an environment.
define find_python
for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo $$candidate; exit 0; \
	fi; \
done; \
echo 'nsc-deploy needs Python 3.11 or later with its venv module; none was found.' >&2; \
echo 'Install one (on Debian and Ubuntu: python3.11 and python3.11-venv) or name it: make PYTHON=/path/to/python3.11' >&2; \
exit 1
endef

$(ready): $(sources)
	@python=$$($(find_python)) && { $(bin)/python -m pip --version >/dev/null 2>&1 || $$python -m venv --clear $(VENV); }
	$(bin)/python -m pip install -c constraints.txt -e '.[train,speech,test,docs,check]'
	@touch $@

demo: $(ready)
	$(bin)/nsc-deploy demo --out demo

# Lava needs a Python 3.10 of its own; the tests that run it are skipped where there is none.
lava: $(ready)
	@$(bin)/nsc-deploy lava install || echo 'Going on without Lava: the tests that run it are skipped.'

# What compiles and runs C for Cortex-M, and opens pages; tests that need one are skipped where it is not there.
# Each program with the Debian package that brings it.
programs := cc:gcc cc:libc6-dev arm-none-eabi-gcc:gcc-arm-none-eabi qemu-system-arm:qemu-system-arm cppcheck:cppcheck chromium:chromium

tools:
	@wanted=; for pair in $(programs); do command -v "$${pair%%:*}" >/dev/null || wanted="$$wanted $${pair#*:}"; done; \
	if [ -z "$$wanted" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq; for package in $$wanted; do \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$package >/dev/null \
			|| echo "Going on without $$package: the tests that need it are skipped."; done; \
	else echo "Not installed:$$wanted (apt-get as root); tests that need them are skipped."; fi

test: lava
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadfile $(TEST_ARGS)

test-slow: lava
	HYPOTHESIS_PROFILE=explore OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not ccode' $(TEST_ARGS)

# Campaigns of their own: `make fuzz NSC_DEPLOY_FUZZ_SEED=7` tries other files.
export NSC_DEPLOY_FUZZ_SEED ?= 0
fuzz: $(ready)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) -m fuzz tests/robustness/fuzz $(TEST_ARGS)

mutants: lava
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) -m mutants tests/conformance/mutants $(TEST_ARGS)

ccode: $(ready)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) -m ccode tests/exporters/c $(TEST_ARGS)

# The counters that ours are compared with go into an environment of their own: they bring much along.
peers := .venv-peers
$(peers)/.ready: $(sources) $(ready)
	$(bin)/python -m venv --clear $(peers)
	$(peers)/bin/python -m pip install -c constraints.txt -e '.[train,test,coding,peers]'
# Without what they ask for: sinabs pins nir to 1.0.4 and brings samna, which fetches code as it is imported.
	$(peers)/bin/python -m pip install --no-deps sinabs==3.1.3 rockpool==3.1.0 pbr==7.1.3
	@touch $@

test-peers: $(peers)/.ready
	OMP_NUM_THREADS=1 $(peers)/bin/python -m pytest -m peers tests/channels tests/conformance tests/hooks $(TEST_ARGS)

# Material for MkDocs prints its plans for the next years otherwise.
export NO_MKDOCS_2_WARNING := 1

check: $(ready)
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/lint-imports --no-logo
	$(bin)/mypy
	$(bin)/mkdocs build --strict --quiet
	@$(bin)/python .ci/audit

format: $(ready)
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

docs: $(ready)
	$(bin)/mkdocs build --strict
	@echo 'Open site/index.html, or with a search box: $(bin)/mkdocs serve'

clean:
	rm -rf build dist site demo lightning_logs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find nsc_deploy tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(peers)
