# fsbench: "make bench" and "make test" set up everything they need in $(VENV).
.DELETE_ON_ERROR:
.NOTPARALLEL:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON      ?= python3
VENV        ?= .venv
CONSTRAINTS ?= constraints.txt
METHOD      ?= prototype,emat
DATASET     ?= demo
COUNT       ?= 20
CASES       ?= 20000
# as many processes of tests as cores: another one collects all tests once more, and gains nothing
JOBS        ?= logical
WANDB_PROJECT ?= fsbench
FORCE_BUILD ?= FALSE

# Variables that are options of `fsbench bench`: "--drop-small" for DROP_SMALL=1, "--data-root 'x'" for DATA_ROOT=x
SWITCHES := FAST FORCE DROP_SMALL NO_EMPTY DEBUG
OPTIONS  := METHOD DATASET BACKBONE FOLD WAY SHOT SETTING EPISODES IMAGE_SIZE PROTOCOL MANIFEST DEVICES MICRO_BATCH CKPT SEED TEST_SEED \
  BACKBONE_PRECISION DRAWS NESTED_IN SUPPORT_ANNOTATION FILTER_NOVEL KEEP_PREDICTIONS LABEL ASKED_ALONE DATA_ROOT WEIGHTS LISTS RUNS FORMAT
VARIABLES := $(OPTIONS) $(SWITCHES) PYTHON VENV CONSTRAINTS PIP_ARGS ARGS COUNT CASES JOBS NAMES PAPER CHANGED AXIS \
  WANDB_PROJECT FORCE_BUILD HASHES

# METHD=x would run the default. What ends in % is for the programs that are run.
given = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(VARIABLES) MAKE% WANDB% FSBENCH_% OMP_% MKL_% CUDA_% NCCL_% TORCH_% SLURM_% -%,$(given))
$(if $(UNKNOWN),$(error unknown variable: $(UNKNOWN); there are: $(VARIABLES)))
ON  := 1 yes true on
OFF := 0 no false off
$(foreach name,$(SWITCHES),$(if $(filter-out $(ON) $(OFF),$($(name))),$(error $(name) is '$($(name))', expected 1 or 0)))

quoted = '$(subst ','\'',$(1))'
flag = --$(shell tr A-Z_ a-z- <<< $(1))
BENCH_OPTIONS = $(foreach name,$(OPTIONS),$(if $($(name)),$(call flag,$(name)) $(call quoted,$($(name))))) \
  $(foreach name,$(SWITCHES),$(if $(filter $(ON),$($(name))),$(call flag,$(name))))

BIN   := $(VENV)/bin
STAMP := $(VENV)/.fsbench-installed
TEST_STAMP := $(VENV)/.fsbench-test-installed
# Written bytecode spares every process of tests to compile what it imports, and pytest to rewrite 400 files anew
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist worksteal
DOCS_STAMP := $(VENV)/.fsbench-docs-installed
PIP   := $(BIN)/python -m pip --disable-pip-version-check
# To compile all that is installed takes half a minute: Python compiles what it imports, where it may write that down.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)
# uv takes a third of pip's time. It does not read pip's settings: where these name an index, and where uv fails, pip goes on.
UV := $(shell command -v uv)
UV_INSTALL = $(UV) pip install --quiet --python $(BIN)/python $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
PIP_INSTALL = $(PIP) install --quiet $(COMPILE)
wanted = $(PIP_ARGS) $(addprefix -c ,$(CONSTRAINTS)) -e '.[$(1)]'
# With HASHES all that it needs is there already, and nothing else may come
install = $(if $(HASHES),$(PIP_INSTALL) $(PIP_ARGS) --no-index --no-deps --no-build-isolation -e .,\
  $(if $(UV),{ ! $(PIP) config list | grep -q index && $(UV_INSTALL) $(wanted); } ||) $(PIP_INSTALL) $(wanted))
# What runs take; the tools of tests and of the manual come with the targets that need them
RUN_EXTRAS := run,plots,lora,slurm,wandb,photos,fast,promptable

.PHONY: help venv bench gpu-check reproduce weights sweep test test-slow test-all fuzz statistics versions regress check docs cuda lock clean-venv

help:  ## show this list
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST)

venv: $(TEST_STAMP)  ## create the virtual environment and install fsbench in it, with all that tests and checks need

$(STAMP): pyproject.toml $(CONSTRAINTS) $(HASHES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || \
	  { echo "fsbench needs Python 3.11.5 or newer; try: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@find $(VENV)/lib -maxdepth 3 -name '*.dist-info' '!' -exec test -s '{}/INSTALLER' ';' -prune -exec rm -r '{}' +   # cut off in the middle
	$(if $(HASHES),$(PIP) install --quiet $(COMPILE) $(PIP_ARGS) --require-hashes --no-deps --only-binary=:all: -r $(HASHES))
	$(call install,$(RUN_EXTRAS))
	$(PIP) check
	@touch $@

$(TEST_STAMP): $(STAMP)
	$(call install,test)
	$(PIP) check
	@touch $@

bench: $(STAMP)  ## train, evaluate, print the table, e.g. make bench METHOD=emat DATASET=coco FOLD=0,1,2,3 WAY=2
	@$(BIN)/python -m fsbench bench $(BENCH_OPTIONS) $(ARGS)

gpu-check: $(STAMP)  ## operators, methods and runs on a GPU beside their references: differences, times and memory, into gpu.json
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

weights: $(STAMP)  ## list weight files, or fetch some, e.g. make weights NAMES=dinov2_vits14 ARGS=--accept-licence
	@$(BIN)/python -m fsbench weights $(if $(NAMES),fetch $(NAMES) $(ARGS),list $(ARGS))

reproduce: $(STAMP)  ## a paper's tables: what is missing, measured beside reported, e.g. make reproduce PAPER=emat ARGS='--table 1 --run'
	@$(BIN)/python -m fsbench reproduce $(PAPER) $(ARGS)

sweep: $(if $(wildcard configs/sweeps/$(METHOD).yaml),,$(if $(filter sweep,$(MAKECMDGOALS)),$(error no \
  configs/sweeps/$(METHOD).yaml; there are: $(basename $(notdir $(wildcard configs/sweeps/*.yaml)))))) $(STAMP)
sweep:  ## a W&B sweep and an agent for it, e.g. make sweep METHOD=emat COUNT=20
	@set -x; id=$$($(BIN)/wandb sweep --project $(call quoted,$(WANDB_PROJECT)) $(call quoted,configs/sweeps/$(METHOD).yaml) 2>&1 | tee /dev/stderr | \
	  sed -n 's/.*wandb agent //p') || true; set +x; \
	test -n "$$id" || { echo "no sweep was registered: it takes a W&B account ($(BIN)/wandb login) and a network, \
	  see docs/guides/sweeps.md" | tr -s '\t ' ' ' >&2; exit 1; }; \
	WANDB=online PATH="$(abspath $(BIN)):$$PATH" $(BIN)/wandb agent --count $(call quoted,$(COUNT)) $$id

test: $(TEST_STAMP)  ## run all tests but the slow ones; CHANGED=1 only those that reach a changed file; e.g. make test ARGS='-k prototype'
	$(PYTEST) -m 'not slow' --durations=15 --durations-min=2 $(if $(CHANGED),--changed=$(or $(filter-out 1,$(CHANGED)),'@{upstream}')) $(ARGS)

# One by one, so that none waits behind others
test-slow: $(TEST_STAMP)  ## run the slow tests alone, the longest first, e.g. make test-slow ARGS='--shard 1/4'
	$(PYTEST) -m slow --dist load --maxschedchunk 1 --durations=25 $(ARGS)

test-all: $(TEST_STAMP)  ## run all tests: kills, whole trainings and every configuration, too
	$(PYTEST) $(ARGS)

fuzz: $(TEST_STAMP)  ## mutated files of every format against their readers, figures by kind, e.g. make fuzz CASES=20000 SEED=1
	@$(BIN)/python -m tests.fuzz $(CASES) $(SEED)

statistics: $(TEST_STAMP)  ## coverage of intervals and false positives of tests with a planted truth, into docs/guarantees.md, e.g. make statistics ARGS='pascal-1shot --again'
	@$(BIN)/python -m benchmarks.statistics $(ARGS)
	@$(BIN)/python -m benchmarks.statistics.page

versions: $(TEST_STAMP)  ## frozen numbers, goldens and readers under the lowest and newest version of each package, e.g. make versions AXIS='pillow timm'
	@$(BIN)/python .ci/versions.py $(AXIS) $(ARGS)

regress: $(STAMP)  ## a few answers of every method against accepted ones, e.g. make regress METHOD=emat ARGS=--accept
	@$(BIN)/python -m fsbench regress $(if $(filter file,$(origin METHOD)),,--method $(call quoted,$(METHOD))) $(ARGS)

check: $(TEST_STAMP)  ## ruff, the type checker and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS_STAMP)  ## build the manual into site/; what a link does not find is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict $(ARGS)
	@echo 'site/index.html is the manual'

$(DOCS_STAMP): $(STAMP)
	$(call install,docs)
	@touch $@

cuda: $(STAMP)  ## build the optional CUDA packages (needs a GPU toolkit; see docs/guides/install.md)
	$(PIP) install wheel ninja packaging 'setuptools>=77'
	CAUSAL_CONV1D_FORCE_BUILD=$(FORCE_BUILD) MAMBA_FORCE_BUILD=$(FORCE_BUILD) MAMBA_KEEP_CUDA_BUILD=TRUE \
	  $(PIP) install --no-build-isolation $(PIP_ARGS) $(addprefix -c ,$(CONSTRAINTS)) -e '.[cuda]'

lock: $(TEST_STAMP)  ## write constraints.txt and, with hashes, .ci/requirements.txt from the installed packages
	{ echo '# Exact versions the tests were last run with; written by "make lock".'; \
	  $(PIP) freeze --exclude-editable | grep -viE '^(nvidia-|cuda-|triton==|pip==|setuptools==)'; } > constraints.new
	mv constraints.new constraints.txt
	$(PIP) freeze --all --exclude-editable | grep -v '^pip==' | $(BIN)/python .ci/hashes.py > .ci/requirements.new
	mv .ci/requirements.new .ci/requirements.txt

clean-venv:  ## remove the virtual environment
	rm -rf $(VENV)
