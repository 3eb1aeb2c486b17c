# Stenobus. "make demo" shows it, "make test" tests it.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Pinned: a linter that changes by itself breaks builds that did not.
STATICCHECK_VERSION := v0.8.2
STATICCHECK         := bin/tools/$(STATICCHECK_VERSION)/staticcheck

# Runs of each fuzz target of "make fuzz". A time works too, but at its end the fuzzer
# takes a worker that is still busy for a failure ("context deadline exceeded").
FUZZTIME ?= 5000x

.DEFAULT_GOAL := help
.PHONY: help demo test bench soak lab clients sabotage lint fuzz build build-sabotage install clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install build ## Install what is missing, build, and read what was spoken in the shipped samples
	bin/stenobus demo

# The race detector sleeps before a process ends, by default a second: for each package and
# each child of the tests.
test: install ## Run every test with the race detector
	GORACE=atexit_sleep_ms=50 $(GO) test -race -shuffle=on -timeout 5m ./...

bench: build ## Measure each hot function, and everything that has a budget beside it
	$(GO) test -run '^$$' -bench . -benchtime 200ms -benchmem ./...
	bin/stenobus bench budgets

soak: ## Run 10,000 short sessions, and 10,000 strangers against 200 sessions: nothing is lost or left
	STENOBUS_SOAK=10000 STENOBUS_STRANGERS=10000 $(GO) test -run 'TestSoak|TestStrangers' -v -timeout 15m ./cmd/stenobus/systemtest

lab: build ## Break a deployment for two minutes and prove that nothing was lost
	bin/stenobus lab --quick

clients: install build ## Point other people's client libraries and a browser, unchanged, at a running Stenobus
	.ci/clients

sabotage: build-sabotage ## Take each safeguard off and see that lab or benchmark finds out
	.ci/sabotage
	.ci/slow

lint: $(STATICCHECK) ## Check format, vet, staticcheck, import arrows and subject literals
	.ci/format
	$(GO) vet ./...
	$(GO) vet -tags sabotage ./...
	$(STATICCHECK) ./...
	$(STATICCHECK) -tags sabotage ./...
	.ci/arrows

fuzz: ## Run each fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

build-sabotage: ## Build bin/stenobus-sabotage, whose safeguards STENOBUS_SABOTAGE can take off
	CGO_ENABLED=0 $(GO) build -trimpath -tags sabotage -ldflags '-X main.version=$(VERSION)-sabotage' -o bin/stenobus-sabotage ./cmd/stenobus

build: ## Build bin/stenobus
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/stenobus ./cmd/stenobus

install: ## Install the Debian packages that recognition needs, if they are missing
	.ci/install

# What is in the module cache already is taken from there, so that this works offline.
$(STATICCHECK):
	GOPROXY="file://$$($(GO) env GOMODCACHE)/cache/download|$$($(GO) env GOPROXY)" \
	GOBIN="$(CURDIR)/$(@D)" $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

clean: ## Remove what was built
	rm -rf bin
