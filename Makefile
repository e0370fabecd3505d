# One command for each habit. Prerequisites: Go, git, make and a C compiler.
# Everything else is built from pinned Go modules on first use, into a cache
# ($MILLWRIGHT_CACHE, or millwright in the user's cache folder).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# Two packages at a time: several of them run an API server.
P ?= 2
RUN ?= .
FUZZTIME ?= 20s
ROUNDS ?= 3
WORKLOADS ?= w1,w2,w3,w4,w7
SOAK ?= 1m
REVISIONS ?= 1000
KILLS ?= 200
COUNT ?=
DIR ?= .factory

# Modules of their own that have tests; their dependencies do not fit ours.
NESTED := cmd/millwright-policy tools/registry tools/pods tools/sigstore tools/cosign tools/tekton
# One variant of every package: programs, tests and what tools/assets builds are
# compiled alike, so that nothing is compiled twice. Without cgo a binary with
# kustomize in it links in seconds instead of half a minute.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false -gcflags=all=-dwarf=false
# Packages that need neither servers nor a child process.
SHORT := ./gitverify ./render ./render/factory ./reconciler/plan ./reconciler/report ./internal/...
GENERATED := reconciler/api bases/millwright/crds cmd/millwright-policy/internal/policy
PINNED = $(GO) run ./tools/assets/build

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the three programs into bin/
	$(GO) build -o bin/ ./cmd/millwright ./cmd/millwright-controller
	$(GO) -C cmd/millwright-policy build -o ../../bin/millwright-policy .

.PHONY: test
test: test-nested ## Run all tests that need no root, real servers included (RUN=regexp COUNT=1)
	$(GO) test -p $(P) $(if $(COUNT),-count=$(COUNT)) -timeout 30m -run '$(RUN)' ./...

.PHONY: test-nested
test-nested:
	@for m in $(NESTED); do echo "# $$m"; $(GO) -C $$m test -p $(P) $(if $(COUNT),-count=$(COUNT)) -timeout 20m -run '$(RUN)' ./...; done

.PHONY: test-race
test-race: ## Run what works at the same time under the race detector (minutes, needs a C compiler)
	CGO_ENABLED=1 GOFLAGS= $(GO) test -race -count=1 -timeout 20m ./internal/... ./render ./render/factory ./render/policy ./reconciler/plan ./reconciler/report ./reconciler/source

.PHONY: test-short
test-short: ## Run the tests that start no servers, in less than a minute
	$(GO) test -short -p $(P) -run '$(RUN)' $(SHORT)

.PHONY: golden
golden: ## Rewrite the golden files; look at the difference before you commit it
	$(GO) test $$(git grep -l '"update"' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|') -update

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (20s) each
	@git grep -oE 'func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed -E 's|/[^/]*:func | |' | sort -u | \
	while read -r dir name; do (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) .); done

.PHONY: soak
soak: ## 100,000 passes that find nothing, and faults that take their whole time (an hour or more)
	MILLWRIGHT_SOAK=$(or $(COUNT),100000) $(GO) test -count=1 -timeout 12h -v -run 'PassesWithoutNews' ./reconciler
	MILLWRIGHT_SOAK=1 $(GO) test -count=1 -timeout 2h -v -run 'WasStopped|AwayAtTheStart|DuringAPartition' ./cmd/millwright-controller
	MILLWRIGHT_SOAK=1 $(GO) test -count=1 -timeout 2h -v -run 'ThousandObjects' ./reconciler/apply

.PHONY: bench
bench: ## Run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem $$(git grep -l 'func Benchmark' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')

.PHONY: bench-verify
bench-verify: ## Measure verification beside gitsign, git with SSH and GPG, and the bare arithmetic (minutes)
	@$(GO) run ./bench/verify

.PHONY: bench-audit
bench-audit: ## Measure going over a year of evidence again, beside the bare arithmetic (minutes)
	@$(GO) run ./bench/audit -rounds $(ROUNDS)

.PHONY: bench-engine
bench-engine: ## Measure the loop beside Flux, kubectl and the least that can be done (long; ROUNDS= SOAK= WORKLOADS=)
	@$(GO) run ./bench/engine -rounds $(ROUNDS) -soak $(SOAK) -workloads $(WORKLOADS) $(if $(KEEP),-dir $(KEEP))

.PHONY: bench-evidence
bench-evidence: ## Measure evidence beside cosign and the bare signing, and kill the controller (long; ROUNDS= REVISIONS= KILLS= SEED=)
	@$(GO) run ./bench/evidence -rounds $(ROUNDS) -revisions $(REVISIONS) -kills $(KILLS) $(if $(SEED),-seed $(SEED)) $(if $(KEEP),-dir $(KEEP))

.PHONY: mutation
mutation: ## Remove each refusal of the verifier; fail unless only redundant ones go unmissed (hours)
	$(GO) run ./tools/mutate -full ./gitverify ./gitverify/trustpolicy ./gitverify/forgekey

.PHONY: lint
lint: ## Run golangci-lint (built from tools/lint) on the root module and on the nested ones
	@lint=$$($(PINNED) golangci-lint); "$$lint" run ./...; \
	for m in $(NESTED); do (cd $$m && "$$lint" run --config $(CURDIR)/.golangci.yaml ./...); done

.PHONY: generate
generate: ## Regenerate deep copies, CRDs and the copy of the policy wire
	$(GO) generate ./render/policy
	$(GO) tool -modfile=tools/gen/go.mod controller-gen object crd:crdVersions=v1 paths=./reconciler/api/v1alpha1/ output:crd:dir=reconciler/api/crds
	cp reconciler/api/crds/*.yaml bases/millwright/crds/

.PHONY: generate-check
generate-check: generate ## Regenerate, and fail when that changes the tree
	git diff --exit-code -- $(GENERATED)
	@test -z "$$(git ls-files --others --exclude-standard -- $(GENERATED))" || { echo "generated, but not committed: see git status"; exit 1; }

.PHONY: check
check: lint generate-check test ## What CI runs: lint, generate and compare, test

.PHONY: assets
assets: ## Build the servers and tools that tests and the demo run (minutes, once)
	@$(PINNED) $(NAMES)

.PHONY: factory-assets
factory-assets: ## Build all that the factory on one machine is made of (half an hour more than assets, once)
	@$(PINNED) -group factory

.PHONY: demo
demo: ## Show the whole loop on real parts; KEEP=1 leaves it running
	@echo "building the demonstration (the first time this takes minutes)" >&2
	@$(GO) run ./e2e/demo $(if $(KEEP),-keep)

.PHONY: test-demo
test-demo: ## Compare the demo with its transcript, sabotage it, interrupt it (minutes)
	MILLWRIGHT_TEST_DEMO=1 $(GO) test -count=1 -timeout 90m -v -run 'Demonstration|Interrupt' ./e2e/demo

.PHONY: factory
factory: ## Bring up the whole factory on this machine (Linux, root; DIR=.factory)
	@$(GO) run ./e2e/preflight -dir $(DIR)
	@echo "building the factory's programs (the first time this takes half an hour)" >&2
	@$(PINNED) -group factory >/dev/null
	@$(GO) run ./e2e/factory up -dir $(DIR)

.PHONY: factory-restart
factory-restart: ## End the factory's node as a loss of power would, and start it again
	@$(GO) run ./e2e/factory restart -dir $(DIR)

.PHONY: factory-down
factory-down: ## End the factory and remove its data
	@$(GO) run ./e2e/factory down -dir $(DIR)

.PHONY: test-factory
test-factory: ## Bring up the factory and try what it promises (Linux, root; minutes)
	MILLWRIGHT_TEST_FACTORY=1 $(GO) test -count=1 -timeout 10m ./e2e/node
	MILLWRIGHT_TEST_FACTORY=1 $(GO) test -count=1 -timeout 60m -v -run 'Factory' ./e2e/factory

.PHONY: clean
clean: ## Remove bin/ and materialised upstream manifests (the cache of built programs stays)
	rm -rf bin bases/*/upstream bases/*/.upstream-*
