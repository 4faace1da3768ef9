# One command each. CI runs the same targets.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench parts release fuzz soak image advisories peers attack

# Arguments of the demo, such as ARGS=--once.
ARGS ?=

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## The whole story on this machine, with a simulated CC-Gateway (ARGS=--once ends by itself)
	@cargo build --locked --bin ccgate
	@target/debug/ccgate demo $(ARGS)

test: ## Everything that must hold: format, manifests, licences, clippy, docs, all tests
	@ci/test

lint: ## Format, clippy with warnings denied, docs, licences and bans
	@ci/lint
	@ci/deny

bench: ## ccgate beside HAProxy and nginx, kept in benches/results (BENCH_SCENARIOS, BENCH_ROUNDS, BENCH_SECONDS)
	@ci/bench

parts: ## What the parts of a request cost, and what the audit log does, in the release profile
	@cargo bench --locked --bench '*'

release: ## The program as it is shipped, optimised for a measured load; prints where it is
	@ci/release

fuzz: ## Fuzz every parser (FUZZ_SECONDS=600 each; builds with the address sanitizer)
	@ci/fuzz

peers: ## The hostile corpus against ccgate, nginx and HAProxy; writes the table of docs/edge.md
	@ci/peers

attack: ## slowhttptest against ccgate, with good clients beside it (ATTACK_SECONDS=60 for each of four modes)
	@ci/attack

soak: ## Two processes under load, faults, reloads and restarts for 20 minutes (SOAK_MINUTES=n, SOAK_SEED=n)
	@ci/soak

image: ## The container image (IMAGE=name:tag, BUILDER=rust image of a mirror)
	@ci/image

advisories: ## Known holes in dependencies (asks the advisory database over the network)
	@ci/deny advisories
