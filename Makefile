# fluid: every command a person or the CI uses. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FLUID := $(BIN)/fluid
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- the project's own environment ------------------------------------------------------------

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: install
install: $(READY) ## make .venv, with pinned versions

# --- demonstration: a federation of six partners, by the commands they would type -------------

DEMO ?= demo
DATA := data
PARTNERS := aurora borealis corvus draco eridanus fornax
FEDERATION := $(DEMO)/federation.toml
PUBLIC := $(DEMO)/public.parquet
ROUND := $(DEMO)/round1
SECOND_ROUND := $(DEMO)/round2
TABLES := $(PARTNERS:%=$(DATA)/partners/%.csv)
TEACHERS := $(PARTNERS:%=$(DEMO)/%/teacher/model.json)
ANNOTATIONS := $(PARTNERS:%=$(DEMO)/%/annotation.parquet)
CORRECTED := $(PARTNERS:%=$(DEMO)/%/corrected.parquet)
HYBRIDS := $(PARTNERS:%=$(DEMO)/%/hybrid/model.json)
REFERENCE := $(DEMO)/reference/model.json
# What its keys have signed for is noted here, not in the user's own state folder.
export XDG_STATE_HOME := $(abspath $(DEMO))/state

.PHONY: demo
demo: $(DEMO)/evaluation.txt ## run a federation of six partners on real data and print the table
	@cat $<

$(DEMO)/keys/%.pub: | $(READY)
	$(FLUID) keygen $* -o $(DEMO)/keys > /dev/null

# With the coordinator's key in the federation file, whatever comes from it must be signed.
COORDINATOR := $(DEMO)/keys/coordinator.key

$(FEDERATION): $(PARTNERS:%=$(DEMO)/keys/%.pub) $(DEMO)/keys/coordinator.pub | $(READY)
	rm -f $@.new.toml
	$(FLUID) init-federation --name demo --task bbb:binary:BBB-,BBB+ \
	    --task 'logbb:regression:log10(brain/blood):-4:4' -o $@.new.toml > /dev/null
	for key in $^; do $(FLUID) register $$key --federation $@.new.toml > /dev/null; done
	mv $@.new.toml $@

$(PUBLIC): $(DATA)/public.csv $(FEDERATION) | $(READY)
	$(FLUID) prepare-public $< --federation $(FEDERATION) --key $(COORDINATOR) -o $@

# A partner's secret is drawn at random; the demonstration fixes it, so that its numbers repeat.
$(DEMO)/%/demonstration.secret: | $(READY)
	mkdir -p $(@D)
	printf 'demonstration of %s' $* | sha256sum | cut -c 1-64 > $@

$(DEMO)/%/teacher/model.json: $(DATA)/partners/%.csv $(DEMO)/%/demonstration.secret $(FEDERATION) | $(READY)
	$(FLUID) train-teacher $< --federation $(FEDERATION) --partner $* \
	    --secret $(DEMO)/$*/demonstration.secret -o $(DEMO)/$*/teacher

$(DEMO)/%/annotation.parquet: $(DEMO)/%/teacher/model.json $(PUBLIC) $(DEMO)/keys/%.pub | $(READY)
	$(FLUID) annotate $(DEMO)/$*/teacher $(PUBLIC) -o $(DEMO)/$*/draft.parquet
	$(FLUID) approve $(DEMO)/$*/draft.parquet --teacher $(DEMO)/$*/teacher \
	    --key $(DEMO)/keys/$*.key --yes -o $@ > $(DEMO)/$*/approval.txt

$(ROUND)/report.json: $(ANNOTATIONS) $(PUBLIC) $(FEDERATION) | $(READY)
	$(FLUID) distill $(ANNOTATIONS) --public $(PUBLIC) --federation $(FEDERATION) \
	    --key $(COORDINATOR) -o $(ROUND)

# The second round: partners fit the student's residuals.
$(DEMO)/%/corrected.parquet: $(DEMO)/%/annotation.parquet $(ROUND)/report.json | $(READY)
	$(FLUID) annotate $(DEMO)/$*/teacher $(PUBLIC) --student $(ROUND)/student \
	    --key $(DEMO)/keys/$*.key -o $@

$(SECOND_ROUND)/report.json: $(CORRECTED) $(PUBLIC) $(FEDERATION) | $(READY)
	$(FLUID) distill $(CORRECTED) --public $(PUBLIC) --federation $(FEDERATION) \
	    --key $(COORDINATOR) --student $(ROUND)/student --former $(ROUND)/report.json -o $(SECOND_ROUND)

$(DEMO)/%/hybrid/model.json: $(DATA)/partners/%.csv $(SECOND_ROUND)/report.json | $(READY)
	$(FLUID) train-hybrid $< --federated $(ROUND)/federated.parquet --student $(ROUND)/student \
	    --federation $(FEDERATION) --annotation $(DEMO)/$*/annotation.parquet \
	    --teacher $(DEMO)/$*/teacher --later-student $(SECOND_ROUND)/student \
	    -o $(DEMO)/$*/hybrid

# No real consortium could have this: one model trained on everybody's private data.
$(REFERENCE): $(TABLES) $(FEDERATION) | $(READY)
	printf 'demonstration of pooling' | sha256sum | cut -c 1-64 > $(DEMO)/reference.secret
	$(FLUID) train-teacher $(TABLES) --federation $(FEDERATION) --partner pooled --reference \
	    --secret $(DEMO)/reference.secret -o $(DEMO)/reference

$(DEMO)/evaluation.txt: $(DATA)/external.csv $(TEACHERS) $(SECOND_ROUND)/report.json $(HYBRIDS) $(REFERENCE)
	$(FLUID) evaluate $(ROUND)/student $(SECOND_ROUND)/student $(PARTNERS:%=$(DEMO)/%/teacher) \
	    $(PARTNERS:%=$(DEMO)/%/hybrid) $(DEMO)/reference --data $< \
	    -o $(DEMO)/evaluation.json > $@.part
	mv $@.part $@

.PHONY: verify
verify: $(DEMO)/evaluation.txt ## verify the lineage of all rounds and hybrids of the demonstration
	$(FLUID) verify $(DEMO)

.PRECIOUS: $(DEMO)/keys/%.pub $(DEMO)/%/demonstration.secret $(DEMO)/%/teacher/model.json \
    $(DEMO)/%/annotation.parquet $(DEMO)/%/corrected.parquet $(DEMO)/%/hybrid/model.json

# --- studies: the figures of docs/results.md -----------------------------------------------------

STUDY ?= study
SEEDS ?= 3
ROUNDS ?= 3
PARTITIONS := kmeans scaffold:alpha=0.1 scaffold:alpha=0.5 scaffold:alpha=1.0
SIMULATE = $(FLUID) simulate $(TABLES) --public $(PUBLIC) --federation $(FEDERATION) \
    $(PARTITIONS:%=--partition %) --seeds $(SEEDS)
STUDIES := teachers public-size public-composition left-out cross-domain domain rounds \
    contribution shuffled

.PHONY: study
study: $(PUBLIC) $(FEDERATION) | $(READY) ## compare models over twelve virtual consortia of three rounds, half an hour on two cores
	$(SIMULATE) --external $(DATA)/external.csv --share-scaffold 0 \
	    --references auto,lightgbm,random-forest,average --rounds $(ROUNDS) -o $(STUDY)/main

# Four consortia of validation splits each.
TRIAL = $(FLUID) simulate $(TABLES) --external $(DATA)/external.csv --validation --no-paper \
    --partition kmeans --partition scaffold:alpha=0.5 --seeds 2

.PHONY: study-twicing
study-twicing: $(PUBLIC) $(FEDERATION) | $(READY) ## students with and without twicing: on validation splits
	$(TRIAL) --no-hybrids --without-twicing --public $(PUBLIC) --federation $(FEDERATION) \
	    -o $(STUDY)/twicing

.PHONY: study-rounds
study-rounds: $(PUBLIC) $(FEDERATION) | $(READY) ## students of five rounds of fitted residuals: on validation splits
	$(TRIAL) --no-hybrids --rounds 5 --public $(PUBLIC) --federation $(FEDERATION) \
	    -o $(STUDY)/rounds

.PHONY: study-donated
study-donated: $(PUBLIC) $(FEDERATION) | $(READY) ## public sets with structures that partners donate, on validation splits
	for share in 0 0.1 0.3 1; do \
	    $(TRIAL) --no-hybrids --donate $$share --public $(PUBLIC) --federation $(FEDERATION) \
	        -o $(STUDY)/donated-$$share; \
	done

.PHONY: study-frameworks
study-frameworks: $(PUBLIC) $(FEDERATION) | $(READY) ## folds by compound and by framework, on validation splits
	mkdir -p $(STUDY)
	sed 's/^folds_by = .*/folds_by = "framework"/' $(FEDERATION) > $(STUDY)/frameworks.toml
	test -f $(STUDY)/frameworks.parquet || $(FLUID) prepare-public $(DATA)/public.csv \
	    --federation $(STUDY)/frameworks.toml --key $(COORDINATOR) -o $(STUDY)/frameworks.parquet
	$(TRIAL) --public $(PUBLIC) --federation $(FEDERATION) -o $(STUDY)/folds-by-compound
	$(TRIAL) --public $(STUDY)/frameworks.parquet --federation $(STUDY)/frameworks.toml \
	    -o $(STUDY)/folds-by-framework

.PHONY: study-paper
study-paper: $(PUBLIC) $(FEDERATION) | $(READY) ## the paper's experiments, each partner's contribution, and a partner with shuffled labels
	for partition in kmeans scaffold:alpha=0.5; do \
	    $(FLUID) simulate $(TABLES) --public $(PUBLIC) --federation $(FEDERATION) \
	        --external $(DATA)/external.csv --share-scaffold 0 --partition $$partition \
	        $(STUDIES:%=--study %) -o $(STUDY)/paper-$${partition/:*/}; \
	done

.PHONY: study-shuffled
study-shuffled: $(PUBLIC) $(FEDERATION) | $(READY) ## shuffle the largest partner's labels in each of the twelve consortia
	$(SIMULATE) --external $(DATA)/external.csv --share-scaffold 0 --references '' --no-paper \
	    --no-hybrids --study shuffled --every-cell -o $(STUDY)/shuffled

# Fifteen consortia, thirteen lies by one partner and one by two.
.PHONY: study-adversaries
study-adversaries: $(PUBLIC) $(FEDERATION) | $(READY) ## partners that lie: what it costs the student, and who is noticed
	$(BIN)/python -m benchmarks.adversaries $(DATA) $(DEMO) $(STUDY)/adversaries

.PHONY: study-adversaries-validation
study-adversaries-validation: $(PUBLIC) $(FEDERATION) | $(READY) ## the same on validation splits, to choose limits by
	$(BIN)/python -m benchmarks.adversaries $(DATA) $(DEMO) $(STUDY)/adversaries-validation --validation

# A second endpoint and a larger public set, neither of them shipped:
# make study-ames AMES=ames.csv CHEMBL=chembl.smi.gz
AMES ?=
CHEMBL ?=

.PHONY: study-ames
study-ames: | $(READY) ## Ames mutagenicity: AMES=table CHEMBL=structures
	@test -n '$(AMES)' -a -n '$(CHEMBL)' || { echo 'give AMES=table and CHEMBL=structures'; exit 1; }
	test -f $(STUDY)/ames.toml || $(FLUID) init-federation --name ames --task ames:binary \
	    -o $(STUDY)/ames.toml
	test -f $(STUDY)/ames.parquet || $(FLUID) prepare-public $(DATA)/public.csv $(CHEMBL) \
	    --federation $(STUDY)/ames.toml -o $(STUDY)/ames.parquet
	$(FLUID) simulate $(AMES) --label ames=label --public $(STUDY)/ames.parquet \
	    --federation $(STUDY)/ames.toml --partition kmeans --partition scaffold:alpha=0.5 \
	    --seeds $(SEEDS) --references auto,lightgbm -o $(STUDY)/ames

# Any table of one endpoint, with structures that join the shipped public set:
# make study-table TABLE=logd.csv COLUMN=logd KIND=regression STRUCTURES=chembl.smi.gz
TABLE ?=
COLUMN ?=
KIND ?= binary
STRUCTURES ?=
OTHER = $(STUDY)/$(basename $(notdir $(TABLE)))

.PHONY: study-table
study-table: | $(READY) ## a table of one endpoint: TABLE=table COLUMN=name KIND=binary STRUCTURES=more public compounds
	@test -n '$(TABLE)' -a -n '$(COLUMN)' || { echo 'give TABLE=table and COLUMN=name'; exit 1; }
	test -f $(OTHER).toml || $(FLUID) init-federation --name $(basename $(notdir $(TABLE))) \
	    --task endpoint:$(KIND) -o $(OTHER).toml
	test -f $(OTHER).parquet || $(FLUID) prepare-public $(DATA)/public.csv $(STRUCTURES) \
	    --federation $(OTHER).toml -o $(OTHER).parquet
	$(FLUID) simulate $(TABLE) --label endpoint=$(COLUMN) --public $(OTHER).parquet \
	    --federation $(OTHER).toml --partition kmeans --partition scaffold:alpha=0.5 \
	    --seeds $(SEEDS) --references auto,average --without-twicing --rounds $(ROUNDS) -o $(OTHER)

# Any tables and the contract of their tasks; by default the demonstration's.
TABLES_OF ?= $(DATA)/partners/*.csv $(DATA)/external.csv
CONTRACT ?= $(FEDERATION)

.PHONY: study-multitask
study-multitask: $(FEDERATION) | $(READY) ## one network of all tasks beside a model for each: TABLES_OF=tables CONTRACT=federation file
	$(BIN)/python -m pip install --quiet --editable '.[torch]'
	mkdir -p $(STUDY)
	$(BIN)/python -m benchmarks.multitask $(TABLES_OF) --federation $(CONTRACT) --seeds $(SEEDS) \
	    | tee $(STUDY)/multitask.txt

.PHONY: study-coverage
study-coverage: $(DEMO)/evaluation.txt ## coverage of prediction sets on the demonstration's compounds
	$(BIN)/python -m benchmarks.prediction_sets $(DEMO) $(DATA)/external.csv $(TABLES)

# What learning bounds gains: make study-censored CENSORED=table.csv.gz (long: smiles, task, qualifier, value, unit)
CENSORED ?=
.PHONY: study-censored
study-censored: | $(READY) ## bounds learned, dropped, or taken as exact: CENSORED=long table, a quarter of an hour
	$(BIN)/python -m benchmarks.censored $(TABLES) $(DATA)/external.csv $(if $(CENSORED),--chembl $(CENSORED)) \
	    --learners svm kernel-ridge lightgbm --seeds 0 1 2

.PHONY: study-privacy-utility
study-privacy-utility: $(DEMO)/evaluation.txt ## student quality against epsilon, half an hour
	$(BIN)/python -m benchmarks.privacy_utility $(DEMO) $(DATA)/external.csv $(TABLES)
	$(BIN)/python -m benchmarks.noise_audit

# What annotations give away, and what protection costs: tables of docs/privacy.md. SHADOWS=64 is more precise.
SHADOWS ?= 16

.PHONY: study-privacy
study-privacy: $(PUBLIC) $(FEDERATION) $(PARTNERS:%=$(DEMO)/%/demonstration.secret) | $(READY) ## attack the partners' annotations, a quarter of an hour on two cores
	for part in leakage settings cost; do \
	    $(BIN)/python -m benchmarks.privacy $(DEMO) $(DATA)/external.csv $(DATA)/partners \
	        --part $$part --shadows $(SHADOWS) --output $(STUDY)/privacy; \
	done

.PHONY: study-privacy-rounds
study-privacy-rounds: $(DEMO)/draco/corrected.parquet | $(READY) ## attack a residual round, alone and together with the first annotation
	mkdir -p $(STUDY)
	$(FLUID) audit $(DEMO)/draco/teacher $(PUBLIC) $< --student $(ROUND)/student \
	    --shadows $(SHADOWS) -o $(STUDY)/privacy-rounds.json

.PHONY: study-decoys
study-decoys: $(PARTNERS:%=$(DEMO)/%/teacher/model.json) $(PUBLIC) | $(READY) ## attack by a coordinator that makes the public set, a quarter of an hour on two cores
	$(BIN)/python -m benchmarks.decoys $(DEMO) --shadows $(SHADOWS)

# A partner of some 500 compounds of another endpoint, every fifth of them public too.
SECOND := $(STUDY)/privacy-ames

.PHONY: study-privacy-ames
study-privacy-ames: | $(READY) ## attack the annotation of a partner with Ames data: AMES=table
	@test -n '$(AMES)' || { echo 'give AMES=table'; exit 1; }
	rm -rf $(SECOND) && mkdir -p $(SECOND)
	awk 'NR == 1 || NR % 14 == 2' $(AMES) > $(SECOND)/private.csv
	awk 'NR == 1 || NR % 70 == 2 || NR % 7 == 3 || NR % 7 == 5' $(AMES) > $(SECOND)/public.csv
	$(FLUID) init-federation --name ames --task ames:binary -o $(SECOND)/federation.toml
	$(FLUID) keygen one -o $(SECOND)/keys
	$(FLUID) register $(SECOND)/keys/one.pub --federation $(SECOND)/federation.toml
	$(FLUID) prepare-public $(SECOND)/public.csv --federation $(SECOND)/federation.toml \
	    -o $(SECOND)/public.parquet
	printf 'demonstration of ames' | sha256sum | cut -c 1-64 > $(SECOND)/secret
	$(FLUID) train-teacher $(SECOND)/private.csv --label ames=label --partner one \
	    --federation $(SECOND)/federation.toml --secret $(SECOND)/secret -o $(SECOND)/teacher
	$(FLUID) annotate $(SECOND)/teacher $(SECOND)/public.parquet -o $(SECOND)/draft.parquet
	$(FLUID) audit $(SECOND)/teacher $(SECOND)/public.parquet $(SECOND)/draft.parquet \
	    --shadows $(SHADOWS) -o $(SECOND)/audit.json

# --- real tables of many tasks: a whole round, with time and peak memory of each step -------------

REAL ?= real-tables
REAL_PUBLIC ?= $(DATA)/public.csv
REAL_TASKS ?=
REAL_ROUND = $(BIN)/python -m benchmarks.real_table --public $(REAL_PUBLIC) \
    $(if $(REAL_TASKS),--tasks $(REAL_TASKS))

.PHONY: run-toxcast
run-toxcast: | $(READY) ## a round of four partners on a wide table: TOXCAST=table, REAL_TASKS=60 for fewer tasks
	@test -n '$(TOXCAST)' || { echo 'TOXCAST=table is needed' >&2; exit 1; }
	rm -rf $(REAL)/toxcast
	$(REAL_ROUND) $(TOXCAST) -o $(REAL)/toxcast

.PHONY: run-chembl
run-chembl: | $(READY) ## the same on a long table of measurements: CHEMBL=table
	@test -n '$(CHEMBL)' || { echo 'CHEMBL=table is needed' >&2; exit 1; }
	rm -rf $(REAL)/chembl
	$(REAL_ROUND) $(CHEMBL) -o $(REAL)/chembl

.PHONY: bench-table
bench-table: | $(READY) ## check-data on a table of 2,000 tasks and 200,000 rows (synthetic)
	rm -rf $(REAL)/large
	$(BIN)/python -m benchmarks.large_table -o $(REAL)/large

.PHONY: bench-many
bench-many: | $(READY) ## prepare a teacher of 2,000 tasks and 200,000 compounds (synthetic), up to the fits
	$(BIN)/python -m benchmarks.many_tasks

# --- benchmarks: the table of docs/performance.md -------------------------------------------------

SUBJECTS ?=

.PHONY: bench
bench: | $(READY) ## cost of each step compared with bare library calls, two hours; SUBJECTS=prepare for one
	$(BIN)/python -m benchmarks $(SUBJECTS)

.PHONY: bench-plot
bench-plot: | $(READY) ## draw docs/distill.svg from what SUBJECTS=distill measured
	$(BIN)/python -m benchmarks.plot

# --- documentation ------------------------------------------------------------------------------

.PHONY: docs
docs: | $(READY) ## docs/api.md from the docstrings
	$(BIN)/python docs/build_api.py

# --- checks -----------------------------------------------------------------------------------

TREE := build/tree

.PHONY: check
check: $(READY) ## check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TREE) && $(BIN)/python -m pip install --quiet --no-deps --target $(TREE) .
	cp -R benchmarks $(TREE)
	cd $(TREE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p fluid -p benchmarks
	cd $(TREE) && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml
	$(BIN)/python -m benchmarks.structure

# Files of tests run side by side.
WORKERS ?= 2

.PHONY: test
test: $(READY) ## run the tests, under 5 minutes on two cores
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# A folder of cases elsewhere: a folder each, with federation.toml, in.* and README.txt.
CASES ?=

.PHONY: check-cases
check-cases: $(READY) ## read small tables of every kind, those of CASES=folder too
	CASES="$(abspath $(CASES))" $(BIN)/python -m pytest tests/cases

.PHONY: test-all
test-all: $(READY) ## run all tests, long ones included
	$(BIN)/python -m pytest -m ''

.PHONY: build
build: $(READY) ## build the wheel, install it into a new environment and run a round of two partners there
	rm -rf dist build/wheel-env build/lib
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/python -m pip install --quiet dist/*.whl
	tests/installed_round.sh $(CURDIR)/build/wheel-env/bin


.PHONY: clean
clean: ## remove everything that was made, the environment included
	rm -rf $(VENV) $(DEMO) $(STUDY) $(REAL) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
