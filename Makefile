# Everything a developer or a new user runs. Each target sets up what it needs; nothing is installed outside target/
# but Rust targets and, as root on Debian, missing system packages.

SHELL := bash
.DEFAULT_GOAL := help

BUILD := $(or $(CARGO_TARGET_DIR),target)
CARGO_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
WASM := target/edge_authn.wasm
WASM_SYMBOLS := target/edge_authn.symbols.wasm
WASM_BUDGET := tests/wasm-size-budget.txt
IMAGE := target/oci
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

# Suites that need a tool of their own have their own target; every other file or folder in tests/ is native.
TOOLED_SUITES := apisix browser envoy host manifests wasm
NATIVE_SUITES := $(filter-out $(TOOLED_SUITES),$(patsubst tests/%.rs,%,$(wildcard tests/*.rs)) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)))

# One feature set for all native builds, so that nothing is compiled twice.
NATIVE := --features demo

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: rust wasm ## Run the filter in Envoy with an identity provider and an upstream; ONCE=1 ends after the tour
	ENVOY=$$(scripts/envoy.sh) && export ENVOY && exec cargo run $(NATIVE) --bin edge-authn-demo

.PHONY: demo-servers
demo-servers: rust ## Build the identity provider and the upstream of the demo, as the Dockerfile does
	cargo build $(NATIVE) --bin edge-authn-demo

.PHONY: setup
setup: rust ## Install all that `make ci` would install when it needs it
	scripts/envoy.sh
	scripts/chromium.sh
	scripts/docker-compose.sh
	scripts/oci-tools.sh
	scripts/istio-schemas.sh "$$(scripts/node.sh)"
	scripts/wasm-bindgen-test-runner.sh

# Written even when unchanged: its age tells the suites that it belongs to the sources.
# Paths of this machine are kept out of the module: panic messages carry them, and builds would differ by them.
.PHONY: wasm
wasm: rust ## Build the filter into target/edge_authn.wasm
	CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="--remap-path-prefix=$(CARGO_DIR)=cargo --remap-path-prefix=$(CURDIR)=." \
	cargo build --release --lib --target wasm32-wasip1
	@mkdir -p target
	@scripts/wasm-split.py $(BUILD)/wasm32-wasip1/release/edge_authn.wasm $(WASM) $(WASM_SYMBOLS)
	@echo "$(WASM): $$(wc -c < $(WASM)) bytes"

.PHONY: image
image: wasm ## Pack the filter as an image for `oci://` into target/oci, and print its digest
	@scripts/image.sh $(WASM) $(IMAGE) $(VERSION)

.PHONY: test
test: test-native test-manifests test-wasm test-host test-apisix test-envoy test-browser ## Run every test

.PHONY: test-native
test-native: rust ## Run the unit, flow and property tests
	cargo test $(NATIVE) --lib --bins $(NATIVE_SUITES:%=--test %)
	cargo test $(NATIVE) --doc

.PHONY: test-manifests
test-manifests: wasm demo-servers ## Check the files for Docker Compose, Apache APISIX and Istio, and the image
	scripts/oci-tools.sh
	COMPOSE=$$(scripts/docker-compose.sh) && NODE=$$(scripts/node.sh) && ISTIO_SCHEMAS=$$(scripts/istio-schemas.sh "$$NODE") && \
	export COMPOSE NODE ISTIO_SCHEMAS && cargo test $(NATIVE) --test manifests

.PHONY: test-wasm
test-wasm: rust ## Run the signature vectors on 32-bit WebAssembly in Node.js
	NODE=$$(scripts/node.sh) && RUNNER=$$(scripts/wasm-bindgen-test-runner.sh) && \
	PATH="$$(dirname "$$NODE"):$$PATH" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER="$$RUNNER" \
	cargo test --target wasm32-unknown-unknown --test wasm

.PHONY: test-host
test-host: wasm ## Run the built filter in a proxy-wasm host made for tests
	cargo test $(NATIVE) --test host

.PHONY: test-apisix
test-apisix: wasm ## Run the built filter behind real sockets in the way of Apache APISIX
	cargo test $(NATIVE) --test apisix $(CASE)

.PHONY: test-envoy
test-envoy: wasm ## Run the built filter in real Envoys
	ENVOY=$$(scripts/envoy.sh) && export ENVOY && cargo test $(NATIVE) --test envoy $(CASE)

# Whatever ENVOY is set to: which versions are run is what this is about.
.PHONY: test-envoy-matrix
test-envoy-matrix: wasm ## Run them in each Envoy of scripts/envoy-versions.txt; VERSIONS="1.36 1.37" runs some
	scripts/envoy-matrix.sh cargo test $(NATIVE) --test envoy $(CASE)

.PHONY: test-browser
test-browser: wasm ## Use the page of the demo in a Chromium
	ENVOY=$$(scripts/envoy.sh) && CHROMIUM=$$(scripts/chromium.sh) && export ENVOY CHROMIUM && \
	cargo test $(NATIVE) --test browser

# In the profile of the tests, whose dependencies are optimised and there: the client must not be the bottleneck, and is not.
.PHONY: bench
bench: wasm ## Measure the filter beside jwt_authn; SCENARIO=name runs one, UPDATE=1 writes BENCH.md
	ENVOY=$$(scripts/envoy.sh) && WRK=$$(scripts/wrk.sh) && export ENVOY WRK && \
	cargo test $(NATIVE) --bench gateway

.PHONY: bench-crypto
bench-crypto: rust ## Measure how long signatures take in WebAssembly and in the host, by algorithm
	ENVOY=$$(scripts/envoy.sh) && \
	cargo build --release --example bench-crypto --features bench --target wasm32-wasip1 && \
	scripts/bench-crypto.sh "$$ENVOY" "$(abspath $(BUILD))/wasm32-wasip1/release/examples/bench_crypto.wasm"

.PHONY: lint
lint: rust ## Check formatting and lints, native and WebAssembly
	cargo fmt --check
	cargo clippy $(NATIVE) --all-targets -- -D warnings
	cargo clippy --lib --target wasm32-wasip1 -- -D warnings
	cargo clippy --example bench-crypto --features bench --target wasm32-wasip1 -- -D warnings

.PHONY: size
size: wasm ## Compare the size of the filter with its budget
	@scripts/wasm-size.sh $(WASM) $(WASM_BUDGET)

.PHONY: ci
ci: lint test size ## Run all that must pass before a change is merged
	$(MAKE) demo ONCE=1

.PHONY: clean
clean: ## Remove everything that was built or installed under target/
	rm -rf target

.PHONY: rust
rust:
	@scripts/rust.sh
