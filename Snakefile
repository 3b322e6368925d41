"""Victims -> notebooks (papermill) -> metrics -> book, from laptop to cluster.

    snakemake --profile profiles/local book                       # what `make book` runs
    snakemake --profile profiles/local batch                      # every run behind the chapters' intervals: one machine
    snakemake --profile profiles/slurm records                    # the same as one job a run: a cluster
    snakemake --profile profiles/gpu notebooks                    # the chapters alone

Add `--config profile=paper` to do it at another profile's scale, `slice=10` to stop a batch after ten minutes, `jobs=4`
to make that many runs side by side on one GPU. Only what is missing or out of date is done.
"""

import json
from dataclasses import asdict
from pathlib import Path

from bdlib import runtime
from bdlib.experiments import batch, notebooks, records
from bdlib.experiments.victims import VictimConfig, victim_path

PROFILE = config.get("profile", "quick")
PAPERS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
CODE = sorted(map(str, Path("bdlib").rglob("*.py")))
PAGES = sorted(str(path) for path in Path("book").rglob("*") if path.is_file())
VICTIMS = str(runtime.CACHE / "victims")
RECIPES = {
    victim_path(recipe).stem: recipe
    for paper in PAPERS
    for profile in notebooks.PROFILES
    if notebooks.profile_file(paper, profile).is_file()
    for recipe in [VictimConfig.from_parameters(notebooks.parameters(paper, profile))]
}


def victim_of(paper, profile):
    """The victim that a profile's notebook runs on."""
    return str(victim_path(VictimConfig.from_parameters(notebooks.parameters(paper, profile))))


def reported_of(paper):
    """A paper's published numbers; the comparison of all papers has none of its own."""
    return [] if paper == "comparison" else [f"results/reported/{paper}.csv"]


def kept_records(profile):
    """The records there are, whatever made them."""
    return sorted(map(str, Path("results", profile).glob("*/*.json")))


def studies(paper):
    """The files that say which runs a paper's studies consist of."""
    paths = [notebooks.profile_file(paper, profile, ".records") for profile in notebooks.PROFILES]
    return [str(path) for path in paths if path.is_file()]


def grid_records(profile):
    """The records there should be."""
    return [str(records.path(paper, profile, point).relative_to(runtime.ROOT))
            for paper in PAPERS for point in notebooks.grid(paper, profile)]


wildcard_constraints:
    paper="[a-z_]+",
    profile="smoke|quick|paper",


rule book:
    input:
        "build/book/index.html",


rule notebooks:
    input:
        expand("results/{profile}/{paper}.ipynb", profile=PROFILE, paper=PAPERS),


# Has no output, so that it always looks: records once made stay, whatever changes, until somebody deletes them.
rule batch:
    params:
        minutes=f"--minutes {config['slice']}" if config.get("slice") not in (None, "") else "",
        jobs=f"--jobs {config['jobs']}" if config.get("jobs") not in (None, "") else "",
    threads: workflow.cores
    shell:
        f"python -m bdlib.experiments.batch --profile {PROFILE} {{params.minutes}} {{params.jobs}}"


rule records:
    input:
        grid_records(PROFILE),
        f"results/{PROFILE}/metrics.csv",


rule victim:
    output:
        VICTIMS + "/{name}.safetensors",
    params:
        recipe=lambda wildcards: json.dumps(asdict(RECIPES[wildcards.name])),
    threads: 2
    resources:
        gpu=1,
    shell:
        "python -m bdlib.experiments.victims {params.recipe:q}"


rule notebook:
    input:
        CODE,
        "book/claims.yaml",  # a chapter's head shows the verdicts at quick and paper scale, whatever its profile
        lambda wildcards: studies(wildcards.paper),
        notebook="notebooks/{paper}.ipynb",
        parameters="notebooks/params/{profile}/{paper}.yaml",
        victim=lambda wildcards: victim_of(wildcards.paper, wildcards.profile),
        records=lambda wildcards: sorted({path for profile in {wildcards.profile, "quick", "paper"}
                                          for path in kept_records(profile)}),
        reported=lambda wildcards: reported_of(wildcards.paper),
    output:
        "results/{profile}/{paper}.ipynb",
    log:
        "build/logs/{profile}-{paper}.log",
    threads: 2
    resources:
        gpu=1,
    shell:
        "python -m bdlib.experiments.notebooks {input.notebook} {output} -f {input.parameters}"
        " -p record build/{wildcards.profile}/{wildcards.paper}.json 2>&1 | tee {log}"


# No inputs: a record, once made, stays until somebody deletes it. The chapters say when its code has changed since.
rule record:
    output:
        "results/{profile}/{paper}/{name}.json",
    threads: 2
    resources:
        gpu=1,
    shell:
        "python -m bdlib.experiments.run {wildcards.paper} {output:q} --profile {wildcards.profile}"


rule metrics:
    input:
        lambda wildcards: sorted({*grid_records(wildcards.profile), *kept_records(wildcards.profile)}),
    output:
        "results/{profile}/metrics.csv",
        "results/{profile}/manifest.csv",
    run:
        print(batch.tell(wildcards.profile))


rule site:
    input:
        CODE,
        PAGES,
        "_config.yml",
        "scripts/build_book.py",
        expand("results/{profile}/{paper}.ipynb", profile=PROFILE, paper=PAPERS),
    output:
        "build/book/index.html",
    params:
        profile=PROFILE,
    shell:
        "python scripts/build_book.py --profile {params.profile}"
