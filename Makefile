# The README's two commands are `make book` and `make test`; `make help` lists the rest.
PYTHON ?= python3
PROFILE ?= quick
SLICE ?=
PAPERS ?=
JOBS ?=
PLACE = local
BDLIB = .venv/bin/bdlib
SNAKEMAKE = .venv/bin/snakemake --quiet host reason --config profile=$(PROFILE) $(if $(PAPERS),papers="$(PAPERS)") --profile profiles/$(PLACE)
WRITABLE = test -w . || { echo "$$PWD cannot be written to: make works in a copy of your own"; exit 1; }

.PHONY: help env book pdf test browser verify records paper benchmark release lint clean
help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: .venv/.installed ## the environment, in .venv
.venv/.installed: pyproject.toml constraints.txt
	@$(WRITABLE)
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or newer is needed, this is " + \
	    sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>&- || \
	    { echo "$(PYTHON) has no venv and pip; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -e ".[book,run,test]" -c constraints.txt
	@touch $@

book: env ## train what is missing, run the notebooks, build the book
	@$(WRITABLE)
	@$(SNAKEMAKE) book
	@.venv/bin/python -c 'from pathlib import Path; print("The book is ready. Open", Path("build/book/index.html").resolve().as_uri())'

test: env ## lint, types, unit tests, notebooks at smoke scale
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/test_regression.py
	.venv/bin/python -m pytest -n 2 --maxschedchunk 1 tests/test_regression.py

browser: env ## playgrounds and pages of the built book in headless Chromium (Debian: apt install chromium)
	.venv/bin/python -m pip install --disable-pip-version-check -e ".[browser,widget]" -c constraints.txt
	.venv/bin/python -m bdlib.report.playground build/playground
	.venv/bin/python -m pytest -p no:xdist benchmarks/browser_playground.py benchmarks/browser_book.py

pdf: env ## the built book as build/book.pdf, printed by Chromium
	.venv/bin/python -m pip install --disable-pip-version-check -e ".[browser]" -c constraints.txt
	.venv/bin/python scripts/print_book.py

verify: env ## every claim with its verdict; fails where one is worse than the accepted one
	$(BDLIB) verify

records: env ## every run that is missing; SLICE=10 stops after ten minutes, PAPERS=board makes the board's alone
	@$(WRITABLE)
	@$(if $(SLICE),.venv/bin/python scripts/slice.py $(SLICE)) $(SNAKEMAKE) $(if $(JOBS),--resources gpu=$(JOBS)) \
	    --quiet host reason progress -- records; status=$$?; $(BDLIB) manifest --profile $(PROFILE) && exit $$status

paper: PROFILE = paper
paper: PLACE = gpu
paper: JOBS = 4
paper: records ## the same at the papers' scale, on a GPU, then the chapters; SLICE=10 for ten minutes of runs, JOBS=4 at once
	@$(if $(SLICE),,$(SNAKEMAKE) notebooks)

benchmark: env ## speed of training and of each defence beside the bare step and a conventional pipeline
	@.venv/bin/python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("art"))' || .venv/bin/python -m pip \
	    install --disable-pip-version-check -e ".[benchmark]" -c constraints.txt || echo "ART is left out of the table."
	.venv/bin/python benchmarks/benchmark.py --profile $(PROFILE) --out results/benchmark/$(PROFILE).json

release: env ## packages, records, zoo manifest and checksums of this commit, in dist/
	@.venv/bin/python scripts/release.py

lint: env ## format and lint in place
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

clean: ## remove what can be made again, but not the environment, records or victims
	rm -rf build/book build/source build/logs results/smoke/*.ipynb results/quick/*.ipynb
