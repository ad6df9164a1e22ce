# Every task of a user or maintainer, as one command. `make help` lists them.
#
#   PYTHON=python3.12   the interpreter for .venv
#   PIP_ARGS="…"        options for pip, such as another index, which selects the build of torch
#   CONTAINERIZE_ARGS   options for `bentoml containerize`, such as --opt platform=linux/arm64
#   HOST, PORT          where `make serve` listens

PYTHON ?= python3
HOST ?= 0.0.0.0
PORT ?= 3000
PIP_ARGS ?=
CONTAINERIZE_ARGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# `-o tag` leaves out BentoML's banner and advertisements; BentoML declares its option --quiet twice
BUILD = @tag=$$($(BIN)/bentoml build -o tag $(1)) && echo "built $${tag\#\#*__tag__:}"
CONTAINERIZE := PYTHONWARNINGS='ignore:The parameter --quiet:UserWarning' $(BIN)/bentoml containerize
export BENTOML_DO_NOT_TRACK ?= True

.DEFAULT_GOAL := help
.PHONY: help serve train test test-slow test-full chaos bench lint format bento image image-training image-test clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve  ## serve on port 3000 (PORT=…, HOST=…)
	@$(BIN)/python scripts/check_start.py $(HOST) $(PORT)
	@printf '%s\n' 'When the log says that it is listening, try from another terminal:' \
	  '  curl -H "Content-Type: image/png" --data-binary @examples/ankle-boot.png http://localhost:$(PORT)/predict' \
	  'Interactive documentation: http://localhost:$(PORT)/docs'
	@exec $(BIN)/bentoml serve --host $(HOST) --port $(PORT)

train: $(VENV)/.dev  ## train, evaluate, save to the model store (ARGS="--epochs 5")
	@$(BIN)/python train.py $(ARGS)

test: $(VENV)/.dev  ## run the tests (4 minutes on two cores)
	$(BIN)/python -m pytest -m "not slow and not full and not image" $(PARALLEL) $(ARGS)

test-slow: $(VENV)/.dev  ## run the slow tests: whole trainings, killed and resumed (3 minutes)
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

test-full: $(VENV)/.dev  ## run the long checks on the full data
	$(BIN)/python -m pytest -m full -s $(ARGS)

chaos: $(VENV)/.dev  ## overload the service, kill and hang its workers, and check its promises (10 minutes)
	$(BIN)/python -m benchmarks.chaos $(ARGS)

bench: $(VENV)/.dev  ## measure the service against its peers (ARGS="--quick")
	@PIP_ARGS='$(PIP_ARGS)' $(BIN)/python -m benchmarks.serving $(ARGS)

lint: $(VENV)/.dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bento: $(VENV)/.serve  ## build the Bento
	$(call BUILD)

image: bento  ## build the image fashion_mnist:latest; needs a Docker engine
	$(CONTAINERIZE) fashion_mnist:latest -t fashion_mnist:latest $(CONTAINERIZE_ARGS)

image-training: $(VENV)/.serve  ## build an image that can also train
	$(call BUILD,-f bentofile.train.yaml)
	$(CONTAINERIZE) fashion_mnist_training:latest -t fashion_mnist_training:latest $(CONTAINERIZE_ARGS)

image-test: $(VENV)/.dev  ## build the image and test it, hardened; needs a Docker engine
	CONTAINERIZE_ARGS='$(CONTAINERIZE_ARGS)' $(BIN)/python -m pytest -m image $(ARGS)

clean:  ## remove the environments and all caches
	rm -rf $(VENV) .bench *.egg-info .mypy_cache .pytest_cache .ruff_cache

# One environment, with as many packages as the target needs; updated when the versions change.
$(VENV)/.serve: requirements.txt pyproject.toml scripts/environment.sh
	@PYTHON='$(PYTHON)' sh scripts/environment.sh $(VENV) . $(PIP_ARGS)
	@touch $@

$(VENV)/.dev: requirements.txt pyproject.toml scripts/environment.sh
	@PYTHON='$(PYTHON)' sh scripts/environment.sh $(VENV) '.[dev]' $(PIP_ARGS)
	@touch $@ $(VENV)/.serve
