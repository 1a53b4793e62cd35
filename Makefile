# What a person types. `make help` lists it; `.ci/run` is `make check` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Rustup puts cargo where a fresh shell may not look; root's commands are not on every user's path.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin:/sbin
# Tests and the demo take the release binaries from here.
export TOWPATH_BIN_DIR := $(CURDIR)/dist/bin

# The lock file is what was reviewed: nothing here changes it.
CARGO := cargo --locked

.PHONY: help programs build image demo test check audit fuzz bench clean deps deps-build toolchain fmt-check lint docs-check tidy lab-kubernetes lab-helm lab-flannel lab-kernel

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# What the programs are built for, and how: static, so that the image can start from scratch, one build for it and for hosts.
ARCH := $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
TRIPLE := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-gnu
PROGRAMS := dist/$(ARCH)
# Nobody's home directory is part of what is built.
STATIC := -C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=towpath --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
export TOWPATH_IMAGE := $(CURDIR)/dist/image/towpath-$(ARCH).tar

# arm64 on another machine needs Rust's library for it and a linker.
programs: deps-build toolchain
	@if [[ ! -d $$(rustc --print sysroot)/lib/rustlib/$(TRIPLE) ]]; then
		echo "Rust's library for $(TRIPLE) is missing. Run: rustup target add $(TRIPLE)" >&2
		exit 1
	fi
	if [[ $(ARCH) == arm64 && $$(uname -m) != aarch64 ]]; then
		command -v aarch64-linux-gnu-gcc >/dev/null || { echo "The linker for arm64 is missing. Run: apt-get install gcc-aarch64-linux-gnu" >&2; exit 1; }
		export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
		export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc
	fi
	triple=$(TRIPLE)
	plugin=$$(.ci/plugin-target "$${triple%%-*}")
	export RUSTFLAGS="$${RUSTFLAGS:-} $(STATIC)"
	$(CARGO) build --release --target $(TRIPLE) -p towpathd -p towpathctl
	$(CARGO) build --profile plugin --target "$$plugin" -p towpath
	mkdir -p $(PROGRAMS)
	install -m 755 target/$(TRIPLE)/release/{towpathd,towpathctl} "target/$$plugin/plugin/towpath" $(PROGRAMS)/
	for program in $(PROGRAMS)/*; do
		if readelf -lW "$$program" | grep -q INTERP; then
			echo "$$program is not static: it asks for a dynamic loader" >&2
			exit 1
		fi
	done

build: programs ## Release binaries into dist/bin: towpathd, towpathctl, and towpath (the plugin), all static
	@mkdir -p dist/bin
	install -m 755 $(PROGRAMS)/* dist/bin/
	ls -l dist/bin

image: programs ## The container image, dist/image/towpath-amd64.tar, for `ctr -n k8s.io images import`. ARCH=arm64
	@mkdir -p dist/image
	$(CARGO) run -q --release -p towpath-image -- --binaries $(PROGRAMS) --architecture $(ARCH) --output "$$TOWPATH_IMAGE"

demo: build deps ## Three nodes, two pods each, in network namespaces: see pods talk. KEEP=1 leaves it up. Needs root
	KEEP=$(KEEP) $(CARGO) run --release -q -p netns-harness --bin demo

test: build image deps lab-kubernetes lab-helm lab-flannel lab-kernel ## All tests of all three rings. Needs root; a ring that cannot run fails
	$(CARGO) test --workspace --no-fail-fast

check: fmt-check lint docs-check tidy ## Format, Clippy, documentation, bans and licences, the rules of the house

audit: toolchain ## Known vulnerabilities in what we are built from. Needs a network and cargo-deny
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing. Run: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check

# Each target for FUZZ_SECONDS; what it finds worth keeping it keeps in the corpus, which a test of every run reads again.
FUZZ_SECONDS ?= 60

fuzz: toolchain ## Feed the BGP codec with libFuzzer, FUZZ_SECONDS a target (60). Needs a nightly toolchain and cargo-fuzz
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing. Run: cargo install --locked cargo-fuzz" >&2; exit 1; }
	rustup run nightly rustc -V >/dev/null || { echo "A nightly toolchain is missing. Run: rustup toolchain install nightly" >&2; exit 1; }
	cd bgp
	for target in $$(cargo +nightly fuzz list); do
		cargo +nightly fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=5 -rss_limit_mb=1024
	done

bench: build deps $(if $(filter-out peers daemon plugin bgp change ways memory,$(or $(PART),all)),image lab-kubernetes) ## Speed and memory as ratios, the floor beside. PART=peers, daemon, plugin, bgp, change, ways, memory or kubernetes alone; change: ROUNDS=20 PACE=10000. Needs root
	$(CARGO) bench -q -p promises --bench bench -- $(PART) $(ROUNDS) $(if $(PACE),pace=$(PACE))

clean: toolchain ## Remove what was built
	cargo clean
	rm -rf dist

deps: deps-build ## Install what the lab needs and this machine lacks, through apt by name
	@.ci/deps lab

lab-kubernetes: ## Build the Kubernetes that the lab runs, once, into the user's cache: some ten minutes the first time
	@netns-harness/go/build

lab-helm: ## Build the Helm that the chart is tested with, once, into the user's cache: two minutes
	@tests/helm/build

lab-flannel: deps-build ## Build the flannel that stands beside our nodes in tests, once, into the user's cache: four minutes
	@tests/flannel/build

lab-kernel: deps-build ## The second kernel for tests, once, into the user's cache: TOWPATH_LAB_KERNEL, ../shared/lab, else built (20 minutes)
	@netns-harness/kernel/build

deps-build:
	@.ci/deps build

toolchain:
	@command -v cargo >/dev/null || { echo "cargo is missing: install a Rust toolchain (rust-version in Cargo.toml or newer)" >&2; exit 1; }

fmt-check: toolchain
	cargo fmt --all --check

lint: deps-build toolchain
	$(CARGO) clippy --workspace --all-targets -- -D warnings

docs-check: deps-build toolchain
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

tidy: deps-build toolchain
	$(CARGO) test -q -p promises --lib --test tidy --test fence --test licences --test manual
