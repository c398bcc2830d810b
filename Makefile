# A new machine needs only `make demo` and `make test`; they install or name missing tools.
# Evaluated when a recipe runs, because the prerequisite `tools` may just have installed cmake.
CARGO = env $$(scripts/ensure-cmake) cargo

.PHONY: help demo build release release-pgo test test-long test-interop test-conformance test-examples test-openapi bench bench-instructions bench-smoke fuzz lint lint-fuzz lint-deploy lint-containers fmt docs image tools clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Install the missing tool of the build (cmake)
	@scripts/ensure-cmake >/dev/null

demo: build ## Run the three roles on this machine and show one exchange of each (Ctrl-C ends it; ONCE=yes: ends by itself; PORT_BASE=20000: other ports)
	@exec target/debug/m2m-sidecar demo $(if $(ONCE),--once) $(if $(PORT_BASE),--port-base $(PORT_BASE))

build: tools ## Build the debug binary, target/debug/m2m-sidecar
	$(CARGO) build

release: tools ## Build the optimised binary, target/release/m2m-sidecar
	$(CARGO) build --release

release-pgo: tools ## Build target/release-pgo/m2m-sidecar, optimised by a profile of the benchmark (20 min; needs rustup's llvm-tools)
	@env $$(scripts/ensure-cmake) scripts/release-pgo

test: tools ## Run the tests; installs curl, python3, iproute2 and such if they are missing, or names them
	@arguments=$$(scripts/ensure-tools) && $(CARGO) test $$arguments

test-long: tools test-openapi ## Run the long tests that `make test` leaves out: random days of an authority's trouble, floods, schemathesis (15 min)
	$(CARGO) test --lib --test it -- --ignored --nocapture --test-threads 1

test-interop: build ## Test with independent clients, verifiers and authorities, and plgd's suite through nginx (needs python3 with venv, node, npm, go, java, mvn, nginx, chromium, tinyproxy)
	tests/interop/run.sh
	tests/interop/egress.sh
	tests/interop/verifiers/run.sh
	tests/interop/websockets/run.sh
	tests/interop/websockets/browser.sh
	env $$(scripts/ensure-cmake) tests/interop/plgd-nginx.sh

test-conformance: build ## Run h2spec, the suites of connectrpc.com/conformance, grpcurl and ghz through listeners (needs go, python3, curl)
	tests/conformance/run.sh

test-openapi: build ## Test the management API by its description with schemathesis (needs python3 with venv)
	tests/openapi/run.sh

test-examples: build ## Run the commands of examples/README.md, and its proxies (needs python3 with venv, curl; other tools if installed)
	tests/examples/run.sh

bench: release bench-instructions ## Benchmarks: instructions, criterion (1 min), side by side with Envoy and others (30 min; needs two quiet cores), open streams (4 min; needs go)
	$(CARGO) bench --bench hot_path
	benches/side-by-side/run.sh $(BENCH_ARGS)
	benches/streams/run.sh

# The build of `make build` and `make test`, but with this crate optimised, so that no dependency is built again.
bench-instructions: tools ## Count the instructions of a request with valgrind, beside the committed figures (4 min; BLESS=yes commits)
	@scripts/ensure-valgrind || exit 0; \
	  env CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=2 $$(scripts/ensure-cmake) \
	  cargo bench --profile dev --bench instructions -- $(if $(BLESS),--bless)

bench-smoke: release ## The same benchmarks once and briefly: does everything start and answer right? (3 min)
	$(CARGO) bench --bench hot_path -- --test
	$(CARGO) bench --bench instructions -- --train target/release/m2m-sidecar --requests 500
	benches/side-by-side/run.sh --smoke $(BENCH_ARGS)

fuzz: tools ## Fuzz bearer, token, path, config and the relay (both protocols), FUZZ_SECONDS=600 each (needs nightly Rust and cargo-fuzz, or names them)
	env $$(scripts/ensure-cmake) scripts/fuzz

lint: tools ## Formatting, clippy and rustdoc, warnings as errors
	cargo fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	env RUSTDOCFLAGS="-D warnings" $$(scripts/ensure-cmake) cargo doc --no-deps --document-private-items

lint-fuzz: tools ## Check that the fuzz targets compile (with stable Rust, without a C++ compiler)
	env CUSTOM_LIBFUZZER_PATH=unused/libfuzzer.a $$(scripts/ensure-cmake) cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target

lint-deploy: ## Check the systemd unit, the Kubernetes manifest and the scripts of examples/ (needs python3 with venv)
	tests/examples/lint.sh

lint-containers: ## Check docker-compose.yml by its schema and the Dockerfile by hadolint (needs python3 with venv)
	scripts/lint-containers

fmt: ## Format the sources
	cargo fmt

docs: tools ## Regenerate the pages of docs/, and build the API documentation, target/doc
	env BLESS=1 $$(scripts/ensure-cmake) cargo test --test it golden::
	$(CARGO) doc --no-deps --document-private-items

IMAGE = m2m-sidecar
image: ## Build the image, IMAGE=m2m-sidecar (needs docker, podman or buildah)
	@scripts/build-image $(IMAGE)

clean: ## Remove all build results
	cargo clean
	rm -rf fuzz/target
