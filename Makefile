# `make demo` and `make test` are all a fresh machine needs: each makes the virtual environment and installs what it uses.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# a file at a time, so that fixtures made once for a file are made once
PARALLEL := --numprocesses auto --dist loadfile

# The tests start hundreds of processes, which would each compile all of our modules.
unexport PYTHONDONTWRITEBYTECODE

# command -> Debian package that brings it
DEMO_TOOLS := python3:python3 ip:iproute2 ping:iputils-ping
TEST_TOOLS := $(DEMO_TOOLS) wg:wireguard-tools wireguard-go:wireguard-go iperf3:iperf3 nft:nftables sysctl:procps openssl:openssl
RIVALS     := openvpn:openvpn nebula:nebula tincd:tinc

# where `make install` puts things, and the folder that stands for / meanwhile
PREFIX  := /usr/local
DESTDIR :=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint bench soak install uninstall deb clean demo-tools test-tools rival-tools

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: demo-tools $(STAMP) ## two hosts in namespaces talk through an encrypted tunnel
	@$(BIN)/tunnel demo

test: test-tools $(STAMP) ## the fast tests, under five minutes
	$(BIN)/pytest $(PARALLEL)

test-all: test-tools $(STAMP) ## every test, the slow ones too
	$(BIN)/pytest $(PARALLEL) -m ''

lint: $(STAMP) ## ruff, mypy strict, the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: test-tools rival-tools $(STAMP) ## throughput, cost and latency next to other VPNs; ARGS='--seconds 2 --only tunnel' ...
	$(BIN)/python -m tests.bench $(ARGS)

soak: test-tools $(STAMP) ## an hour of everything that happens to a gateway: does it leak? ARGS='--minutes 2'
	$(BIN)/python -m tests.soak $(ARGS)

install: ## install into PREFIX=/usr/local, with man pages, completions and a systemd unit
	@./scripts/install-tools --venv "$(PYTHON)"
	@./scripts/build-tree "$(PYTHON)" "$(PREFIX)" build/tree
	@./scripts/install-tree build/tree "$(DESTDIR)" "$(PREFIX)"
	@[ -n "$(DESTDIR)" ] || ./packaging/postinst configure

uninstall: ## remove what `make install` installed
	@[ -n "$(DESTDIR)" ] || ./packaging/prerm remove
	@./scripts/uninstall-tree "$(DESTDIR)" "$(PREFIX)"
	@[ -n "$(DESTDIR)" ] || ./packaging/postrm remove

deb: ## a Debian package in dist/, for the release of Debian that this is
	@./scripts/install-tools --venv /usr/bin/python3
	@./scripts/build-deb /usr/bin/python3

clean: ## remove everything that make made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

demo-tools:
	@./scripts/install-tools $(DEMO_TOOLS)

test-tools:
	@./scripts/install-tools $(TEST_TOOLS)

rival-tools: # what cannot be installed is skipped by the benchmark, which says so
	@for tool in $(RIVALS); do ./scripts/install-tools $$tool || true; done

$(STAMP): pyproject.toml
	@./scripts/install-tools --venv "$(PYTHON)"
	@echo "installing tunnel into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
