# `make demo` and `make test` are all a new machine needs; what they miss they install or name.
# Asked when a recipe runs: the prerequisite `tools` may just have installed it.
CARGO = env $$(scripts/ensure-cmake) cargo

.PHONY: help demo build release test test-interop lint lint-containers fmt docs image tools clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Install what the build needs beside Rust, gcc and make (cmake)
	@scripts/ensure-cmake >/dev/null

demo: tools ## Run the three roles on this machine and show one exchange of each (Ctrl-C ends it)
	$(CARGO) build
	@exec target/debug/m2m-sidecar demo

build: tools ## Build the debug binary, target/debug/m2m-sidecar
	$(CARGO) build

release: tools ## Build the optimised binary, target/release/m2m-sidecar
	$(CARGO) build --release

test: tools ## Run the tests (CI runs this)
	@scripts/ensure-tools
	$(CARGO) test

test-interop: build ## Accept our tokens with independent libraries in Python and Node (needs python3 with venv, node, npm)
	tests/interop/run.sh

lint: tools ## Formatting, clippy and rustdoc, warnings as errors
	cargo fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	env RUSTDOCFLAGS="-D warnings" $$(scripts/ensure-cmake) cargo doc --no-deps

lint-containers: ## Judge docker-compose.yml by its schema and the Dockerfile by hadolint (needs python3 with venv)
	scripts/lint-containers

fmt: ## Format the sources
	cargo fmt

docs: tools ## Build the API documentation, target/doc/m2m_sidecar/index.html
	$(CARGO) doc --no-deps

IMAGE = m2m-sidecar
image: ## Build the image, IMAGE=m2m-sidecar (needs docker, podman or buildah)
	@scripts/build-image $(IMAGE)

clean: ## Remove everything that was built
	cargo clean
