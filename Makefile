# The README's two commands are `make book` and `make test`; `make help` lists the rest.
PYTHON ?= python3
PROFILE ?= quick
SNAKEMAKE = PATH="$(CURDIR)/.venv/bin:$$PATH" snakemake --quiet host --config profile=$(PROFILE) --profile

.PHONY: help env book test verify records paper benchmark lint clean
help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: .venv/.installed ## the environment, in .venv
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -e ".[book,run,test]" -c constraints.txt
	@touch $@

book: env ## train what is missing, run the notebooks, build the book
	@$(SNAKEMAKE) profiles/local book
	@.venv/bin/python -c 'from pathlib import Path; print("The book is ready. Open", Path("build/book/index.html").resolve().as_uri())'

test: env ## lint, types, unit tests, notebooks at smoke scale
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	.venv/bin/python -m pytest -n 2 --dist loadfile

verify: env ## every claim with its verdict; fails where one is worse than the accepted one
	.venv/bin/python -m bdlib.claims

records: env ## every run behind the chapters' intervals that is missing (an hour for one paper, on two cores)
	@$(SNAKEMAKE) profiles/local records

paper: env ## everything at the papers' scale, on a GPU
	@$(SNAKEMAKE) profiles/gpu paper

benchmark: env ## what the training loop costs beside the bare training step
	.venv/bin/python benchmarks/step_overhead.py

lint: env ## format and lint in place
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

clean: ## remove what can be made again, but not the environment, records or victims
	rm -rf build/book build/source build/logs results/*/*.ipynb
