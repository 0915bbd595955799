# make demo: the main job, on the bundled model.   make test: everything a fresh machine needs, then all tests.
BIN := .venv/bin
TOKENS ?= 400e6
SCALE ?= full
# What starts processes, waits for the world, or loads the model.
SLOW := $(wildcard tests/test_*_kill.py tests/test_*_crash.py tests/test_triggers_file.py tests/test_triggers_restart.py \
	tests/test_model_*.py tests/test_*daemon*.py tests/test_*demo*.py tests/test_cli*.py tests/test_package.py tests/test_bench.py \
	tests/test_sandbox*.py tests/test_mcp_servers.py tests/test_mcp_trust.py tests/test_mcp_real.py tests/test_mcp_daemon.py tests/test_mcp_cli.py \
	tests/test_fuzz.py tests/test_attacks_table.py) \
	tests/attacks

.PHONY: demo test check fix bench pocket torture service-test fuzz clean

demo:                                   ## set up, then file eight documents with the bundled model
	@packaging/setup.sh
	@$(BIN)/edgeagent demo

test:                                   ## set up, then lint, types and every test
	@packaging/setup.sh dev --packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/pytest

check:                                  ## the fast part of `test`: no processes, no model
	@packaging/setup.sh dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/pytest -q -x $(SLOW:%=--ignore=%)

fix:                                    ## put the code into shape
	@packaging/setup.sh dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/configuration.py
	$(BIN)/python docs/security.py

bench:                                  ## every figure, against llama.cpp; writes docs/benchmarks.md; SCALE=quick tries it out, ROWS=calls,warm
	@packaging/setup.sh dev
	@$(BIN)/python bench/run.py --scale $(SCALE) --rows "$(ROWS)"

pocket:                                 ## train the bundled model again; takes hours without a GPU
	@packaging/setup.sh pocket
	.venv-pocket/bin/python models/pocket/train.py --tokens $(TOKENS) --out models/pocket/build
	.venv-pocket/bin/python models/pocket/export.py --out models/pocket/build --gguf models/pocket/pocket.gguf

torture:                                ## the promises, kept or broken; a run that was cut goes on; SCALE=0.01 takes minutes
	@packaging/setup.sh dev
	@PYTHONPATH=tests $(BIN)/python -m torture $(if $(filter-out full,$(SCALE)),--scale $(SCALE)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(RECORDS),--records $(RECORDS)) $(if $(AGAIN),--again $(AGAIN))

service-test:                           ## the service under a real systemd, booted from Debian packages; as root
	@packaging/setup.sh dev
	@PYTHONPATH=tests $(BIN)/python -m service_machine

fuzz:                                   ## whatever comes from outside, many times; EXAMPLES=20000
	@packaging/setup.sh dev
	EXAMPLES=$(or $(EXAMPLES),2000) $(BIN)/pytest -q tests/test_fuzz.py tests/test_agents_fuzz.py

clean:
	rm -rf .venv .venv-pocket build dist models/pocket/build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
