# `make help` lists the commands.
SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
PYTHON ?= python3
STACK := .local/aws/bin/python local/stack.py

# The ports of `make run`.
export AWS_PORT ?= 4566
export MODEL_PORT ?= 4010
# The port of `make sam-local-api`.
export API_PORT ?= 3000
# They are passed in the environment, unexpanded: make and the shell must not interpret a `$` or a quote in them.
override PROMPT := $(value PROMPT)
export PROMPT
override TASK := $(value TASK)
export TASK
# How long `make fuzz` runs each target. Not taken from the environment, because Bash has a variable of that name.
SECONDS = 20
export PYTHONDONTWRITEBYTECODE := 1
export SAM_CLI_TELEMETRY := 0

.PHONY: help
help: ## This list
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15 2>/dev/null || [ $$? = 141 ]

# ---- run it on this machine -----------------------------------------------------------------------------------------

.PHONY: run demo down logs trace build sam-local sam-local-api
run: install-run ## Build, start a local AWS, deploy to it, run a task: make run [PROMPT="…"] [AWS_PORT=…] [MODEL_PORT=…]
	@$(STACK) run

demo: install-run ## Show agents that use tools, ask, pause, fall back and survive an outage; needs no key
	@$(STACK) demo

down: python ## Stop everything that this folder runs; installed tools and builds are kept
	@$(PYTHON) local/servers.py

logs: install-aws ## Follow the functions' logs: make logs [TASK=tsk_… for one task] [FULL=1 for all fields] [ONCE=1 to end after the last line]; Ctrl-C stops
	@$(STACK) logs

trace: install-aws ## Draw a task's life as a waterfall: make trace TASK=tsk_… [API_URL=… API_KEY=…]
	@$(STACK) trace

build: install-run ## Build the functions for this machine, as `make run` does
	@$(STACK) build

EVENT ?= $(wildcard events/*.json)
sam-local: install-run ## Run each file of events/ in a container, by `sam local invoke`; needs Docker: make sam-local [EVENT=events/….json]
	@$(STACK) sam-local $(EVENT)

sam-local-api: install-run ## The HTTP API in containers, by `sam local start-api`; needs Docker: make sam-local-api [API_PORT=3000]
	@$(STACK) sam-local

# ---- test and check -------------------------------------------------------------------------------------------------

.PHONY: test unit scripts walkthrough integration clients api-fuzz fuzz
test: unit scripts walkthrough integration api-fuzz fuzz ## All tests

unit: ## Tests that need only cargo
	cargo test --workspace

scripts: install-run ## Tests of the local scripts
	@.local/aws/bin/python -m unittest discover --start-directory local

walkthrough: install-run ## The demo twice, and the events in containers if there is Docker, with a local AWS of their own
	@$(STACK) walkthrough

# The same packages as for the unit tests: with other packages, cargo would build all dependencies again.
ON_LOCAL_AWS := cargo test --workspace --test deaths --test e2e --test faults --test integration
# It reads what the functions logged during the other suites.
LOGS := cargo test --workspace --test logs
CLIENTS := .local/aws/bin/python local/clients.py
README := .local/aws/bin/python local/readme.py
integration: install-run install-clients ## The commands in the README, generated clients, integration and end-to-end tests, with a local AWS of their own
	$(ON_LOCAL_AWS) --test logs --no-run
	@$(STACK) test sh -c '$(README) && $(CLIENTS) && $(ON_LOCAL_AWS) && $(LOGS)'

clients: install-run install-clients ## Generate a Python and a TypeScript client from docs/openapi.json, check their types and use them
	@$(STACK) test $(CLIENTS)

api-fuzz: install-run install-schemathesis ## Send random requests to the API, with a local AWS of their own, and compare the responses with docs/openapi.json
	@$(STACK) test .local/aws/bin/python local/api_fuzz.py

# Without a sanitizer it works with the stable compiler. Our code has no unsafe parts.
FUZZ := PATH="$(CURDIR)/.local/fuzz/bin:$$PATH" cargo fuzz
fuzz: install-fuzz ## Feed random input to the parsers: make fuzz [SECONDS=20]
	@targets=$$($(FUZZ) list); for target in $$targets; do \
		printf 'fuzz      %s\n' "$$target"; \
		$(FUZZ) run --dev --sanitizer none "$$target" -- -dict="fuzz/dictionaries/$$target.dict" \
			-max_total_time=$(SECONDS) -timeout=5 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 2>&1 \
			| sed '/# Recommended dictionary/,/# End of recommended/d'; \
	done

.PHONY: bench
bench: ## Measure what model calls, the executor and telemetry cost; see docs/benchmarks.md
	cargo bench -p shared --bench model_call --bench executor
	cargo bench -p shared --bench telemetry --profile release

.PHONY: bench-start
bench-start: install-run ## Measure the start of each function, and of a function that has only the same SDK clients
	@.local/aws/bin/python local/bench_start.py

.PHONY: check fmt fmt-check clippy doc deny advisories dependencies lint-python commits lint-template validate
check: fmt-check clippy doc deny advisories dependencies lint-python commits lint-template validate ## All checks

fmt: install-lint ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	$(RUFF) format $(SCRIPTS)

fmt-check: ## Is the Rust code formatted?
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

# `--all-targets` leaves out the suites that `cargo test` leaves out; `--test` does not.
CLIPPY := --workspace --all-features -- -D warnings
clippy: ## Lints, as errors
	cargo clippy --all-targets $(CLIPPY)
	cargo clippy --test '*' $(CLIPPY)

# With the examples, cargo takes the features of the development dependencies, as clippy does: what clippy checked is not checked again.
doc: ## Does the documentation build, private items too?
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --workspace --all-features --lib --bin model_caller --examples

deny: install-deny ## Licences, sources and unwanted crates
	.local/deny/bin/cargo-deny --workspace check bans licenses sources

advisories: install-deny ## Known vulnerabilities of the dependencies; without internet, by the last copy of the database
	@$(PYTHON) local/advisories.py

dependencies: python ## Dependencies that no code uses, or that the functions would build twice
	@$(PYTHON) local/dependencies.py

RUFF := .local/lint/bin/ruff
SCRIPTS := --config local/ruff.toml local tests/clients
lint-python: install-lint ## Lints and format of the Python programs
	$(RUFF) check $(SCRIPTS)
	$(RUFF) format --check $(SCRIPTS)

commits: python ## Subjects of the newest commits: `scope: Imperative sentence`, at most 72 characters
	@$(PYTHON) local/commits.py

.PHONY: openapi dashboard pictures
openapi: ## Write docs/openapi.json anew, after a change of a route, a request or a response
	@cargo test --workspace --test routes the_committed_document_is_that_of_the_code >/dev/null 2>&1 || true
	cp target/tmp/openapi.json docs/openapi.json

pictures: install-run ## Draw the pictures of `make demo`, `make trace` and `make logs` in docs/ again
	@$(STACK) pictures

dashboard: install-run ## Draw docs/dashboard.svg again, after a change of the dashboard
	@.local/aws/bin/python local/dashboard.py

lint-template: install-sam ## cfn-lint
	.local/sam/bin/cfn-lint template.yaml

validate: install-sam ## sam validate
	env -u AWS_PROFILE AWS_DEFAULT_REGION=us-east-1 __SAM_CLI_APP_DIR=$(CURDIR)/.local/cache/sam .local/sam/bin/sam validate --lint

# ---- install: pinned tools, into .local/ only -----------------------------------------------------------------------

.PHONY: install install-run install-aws install-sam install-deny install-lint install-fuzz install-schemathesis install-clients
install: install-run install-deny install-lint install-fuzz install-schemathesis install-clients ## Install every tool that the other targets need

install-run install-aws install-sam install-deny install-lint install-fuzz install-schemathesis install-clients: python
install-run:
	@$(PYTHON) local/install.py aws sam model

install-aws:
	@$(PYTHON) local/install.py aws

install-sam:
	@$(PYTHON) local/install.py sam

install-deny:
	@$(PYTHON) local/install.py deny

install-lint:
	@$(PYTHON) local/install.py lint

install-fuzz:
	@$(PYTHON) local/install.py fuzz

install-schemathesis:
	@$(PYTHON) local/install.py schemathesis

install-clients:
	@$(PYTHON) local/install.py client-python client-typescript

.PHONY: python
python:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install Python 3.10 or newer" >&2; exit 1; }

# ---- deploy to AWS --------------------------------------------------------------------------------------------------

.PHONY: deploy
deploy: python ## Deploy to your AWS account: make deploy ENV=dev|staging|prod (see samconfig.toml)
	@case "$(ENV)" in dev|staging|prod) ;; *) echo "Name the environment: make deploy ENV=dev|staging|prod" >&2; exit 2 ;; esac
	@$(PYTHON) local/install.py sam
	PATH="$(CURDIR)/.local/sam/bin:$$PATH" sam build --config-env $(ENV)
	config=$$($(PYTHON) local/release.py); PATH="$(CURDIR)/.local/sam/bin:$$PATH" sam deploy --config-file "$$config" --config-env $(ENV)
