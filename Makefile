# Everything a newcomer needs: `make demo` and `make test`.
.PHONY: help demo test test-real check bench setup lock clean image-build image-test image-debug

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: ## set up and run a whole investigation: no key, no cluster
	@scripts/setup runtime
	@.venv/bin/kubecase demo

test: ## set up and run every test with coverage
	@scripts/setup dev
	@rm -f .coverage .coverage.*
	@.venv/bin/pytest -n auto --dist loadgroup --cov --cov-report=term:skip-covered $(ARGS)

test-real: ## run every real agent CLI from npm: Claude Code, Codex, Gemini CLI, opencode, Goose
	@scripts/setup dev
	@scripts/install-real-clis
	@scripts/install-other-clis
	@KUBECASE_NO_SKIPS=1 .venv/bin/pytest tests/real -v -n auto $(ARGS)

check: ## the whole gate: format, lint, types, contracts, tests, coverage
	@scripts/setup dev
	@scripts/check

bench: ## measure, and print ratios to a baseline of the same run
	@scripts/setup dev
	@.venv/bin/python benchmarks/run.py

setup: ## make .venv with everything for development
	@scripts/setup dev

lock: ## rewrite the hashed locks
	@scripts/lock

AGENT ?= claude
ENGINE ?=
WORKSPACE ?=

image-build: ## build the image of one agent: make image-build AGENT=codex
	@ENGINE='$(ENGINE)' scripts/image-build '$(AGENT)'

image-test: ## try that image in a container as hardened as a run's
	@scripts/setup runtime
	@ENGINE='$(ENGINE)' scripts/image-test '$(AGENT)'

image-debug: ## a shell in such a container: make image-debug AGENT=codex WORKSPACE=DIR
	@scripts/setup runtime
	@.venv/bin/kubecase container run -w '$(WORKSPACE)' --agent '$(AGENT)' --engine '$(or $(ENGINE),auto)' --debug

clean: ## remove what was built here
	rm -rf .venv .tools .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis build dist
