"""Victims -> records -> tables, and victims -> notebooks (papermill) -> book: the same from laptop to cluster.

    snakemake --profile profiles/local book                           # what `make book` runs
    snakemake --profile profiles/local records                        # the missing runs behind the chapters' intervals
    snakemake --profile profiles/gpu records --resources gpu=6        # six groups of runs side by side on one GPU
    snakemake --profile profiles/slurm records --config profile=paper # the same on a cluster, at the papers' scale

Only what is missing or out of date is done. It may be stopped at any time and called again: what is finished stays.
"""

import functools
import hashlib
import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path

# One process a core: two of one thread each do a quarter more than one of two. The quick records were made by two, and
# new ones are compared with them on the same victims, to the last bit. Every job, also on a cluster, reads this.
os.environ.setdefault("BDLIB_THREADS", "2" if config.get("profile", "quick") == "quick" else "1")
# The records of cifar are made in bfloat16, as those of paper; on a CPU only where it has matrix units for it.
processor_facts = Path("/proc/cpuinfo")
if config.get("profile") == "cifar" and processor_facts.is_file() and "amx_bf16" in processor_facts.read_text():
    os.environ.setdefault("BDLIB_PRECISION", "bfloat16")

from bdlib import folders
from bdlib.experiments import manifest, notebooks
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.experiments.victims import VictimConfig, victim_path
from bdlib.report import playground
from bdlib.runtime import THREADS

PROFILE = config.get("profile", "quick")
PAPERS = notebooks.papers()
PYTHON = shlex.quote(sys.executable)
BDLIB = f"{PYTHON} -m bdlib.cli"  # the console command `bdlib`, of this environment also on a cluster
RESULTS = os.path.relpath(folders.RESULTS)
VICTIMS = str(folders.CACHE / "victims")
CODE_FILES = sorted(map(str, Path("bdlib").rglob("*.py")))
PAGES = sorted(str(path) for path in Path("book").rglob("*") if path.is_file())
PLAYGROUND = [playground.VICTIM, playground.TWIN]  # what readers attack in the page, at any profile
ONLY = str(config.get("papers", "")).split()  # default: the runs of all pages; papers=board: those of the board
PLANNED = manifest.planned_runs(PROFILE, ONLY)
for line in manifest.set_aside_damaged(PLANNED):  # else their files would count as made
    print(line, file=sys.stderr)
MISSING = manifest.missing_groups(PLANNED)


def victim_of(paper, profile):
    """The victim that a profile's notebook runs on."""
    return VictimConfig.from_parameters(notebooks.parameters(paper, profile))


def victims_of(paper, profile):
    """The victims that a profile's notebook opens: its own, and the clean twin where the page compares with it."""
    victim = victim_of(paper, profile)
    return [victim, victim.twin] if "repaired_by" in notebooks.parameters(paper, profile) else [victim]


@functools.cache
def victims():
    """The victims of all notebooks at all profiles, by the names of their files."""
    papers = [(paper, profile) for paper in PAPERS if paper not in WITHOUT_VICTIM for profile in notebooks.PROFILES]
    configs = [each for key in papers if notebooks.profile_file(*key).is_file() for each in victims_of(*key)]
    return {victim_path(config).stem: config for config in [*configs, *PLAYGROUND]}


def victim_files(paper, profile):
    """The files of the victims that a notebook starts from; none where a page has no victim."""
    return [] if paper in WITHOUT_VICTIM else [str(victim_path(each)) for each in victims_of(paper, profile)]


def victim_options(name):
    """A victim's settings as options of `bdlib victims`, those alone that differ from the defaults."""
    values = {field.name: getattr(victims()[name], field.name) for field in fields(VictimConfig)
              if getattr(victims()[name], field.name) != field.default}
    return shlex.join(word for pair in values.items() for word in ("-p", "{}={}".format(*pair)))


def reported_of(paper):
    """A paper's published numbers; pages that compare papers have none of their own."""
    path = f"results/reported/{paper}.csv"
    return [path] if Path(path).is_file() else []


@functools.cache
def existing_records(*profiles):
    """The records there are, planned or not."""
    return sorted(str(path) for profile in {*profiles} for path in Path(RESULTS, profile).glob("*/*.json"))


def newest(files):
    """The file written last: a job is out of date by that one alone, and Snakemake asks for all sizes all the time."""
    return [max(files, key=lambda path: (os.path.getmtime(path), path))] if files else []


def names_of(files):
    """A digest of the names: a job is out of date too where a file came or went."""
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]


def contents_of(files):
    """Digests of the files: a job is out of date where one changes, and never makes one anew."""
    return [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(files)]


CODE, CODE_NAMES = newest(CODE_FILES), names_of(CODE_FILES)


def paths(group):
    """The records of a group of planned runs."""
    return [os.path.relpath(run.path) for run in group]


def study_files(paper):
    """The files that say which runs a paper's studies consist of."""
    files = [notebooks.profile_file(paper, profile, ".records") for profile in notebooks.PROFILES]
    return [str(path) for path in files if path.is_file()]


wildcard_constraints:
    paper="[a-z_]+",
    profile="smoke|quick|cifar|paper",


rule book:
    input:
        "build/book/index.html",


rule notebooks:
    input:
        expand(RESULTS + "/{profile}/{paper}.ipynb", profile=PROFILE, paper=PAPERS),


rule records:
    input:
        [paths(group) for group in MISSING],
        f"{RESULTS}/{PROFILE}/manifest.csv",


# One job makes the missing runs that share a victim: the victim is trained once, modules are imported once. The rules
# have no inputs: a record once made stays until somebody deletes it. Raising a NUMBERS_VERSION gives a run another
# record, which is then missing. Rule names do not depend on what is missing: a cluster job reads this file anew.
for position, group in enumerate(MISSING):

    rule:
        name: "records_" + group[0].group
        output:
            paths(group),
        message: f"group {position + 1} of {len(MISSING)}: runs of {', '.join(sorted({run.paper for run in group}))}, "
                 f"{len(group)} in all, on the victim {group[0].victim or '(none)'}"
        priority: len(MISSING) - position
        threads: THREADS
        resources:
            gpu=1,
        shell:
            "{BDLIB} records --profile {PROFILE} {output:q}"


rule tables:
    input:
        newest(existing_records(PROFILE)),
        [paths(group) for group in MISSING],
    output:
        f"{RESULTS}/{PROFILE}/manifest.csv",
        f"{RESULTS}/{PROFILE}/metrics.csv",
    params:
        records=names_of(existing_records(PROFILE)),
    message: f"tables of all {PROFILE} records"
    shell:
        "{BDLIB} manifest --profile {PROFILE}"


rule victim:
    output:
        VICTIMS + "/{name}.safetensors",
    params:
        options=lambda wildcards: victim_options(wildcards.name),
    message: "victim {wildcards.name}"
    threads: THREADS
    resources:
        gpu=1,
    shell:
        "{BDLIB} victims {params.options}"


rule notebook:
    input:
        CODE,
        "book/claims.yaml",  # a chapter's head shows the verdicts at quick and paper scale, whatever its profile
        lambda wildcards: study_files(wildcards.paper),
        "notebooks/{paper}.ipynb",
        "notebooks/params/{profile}/{paper}.yaml",
        lambda wildcards: victim_files(wildcards.paper, wildcards.profile),
        lambda wildcards: newest(existing_records(wildcards.profile, "quick", "cifar", "paper")),
        lambda wildcards: reported_of(wildcards.paper),
    output:
        RESULTS + "/{profile}/{paper}.ipynb",
    params:
        code=CODE_NAMES,
        records=lambda wildcards: names_of(existing_records(wildcards.profile, "quick", "cifar", "paper")),
    log:
        "build/logs/{profile}-{paper}.log",
    threads: THREADS
    resources:
        gpu=1,
    message: "chapter {wildcards.paper}, {wildcards.profile} profile"
    shell:
        "{BDLIB} notebook {wildcards.paper} {output:q} --profile {wildcards.profile}"
        " -p record=build/{wildcards.profile}/{wildcards.paper}.json 2>&1 | tee {log}"


rule playground_data:
    input:
        CODE,
        [str(victim_path(config)) for config in PLAYGROUND],
    output:
        expand("build/playground/{name}.js", name=playground.NAMES),
    params:
        code=CODE_NAMES,
    threads: THREADS
    message: "networks for the playgrounds"
    shell:
        "{PYTHON} -m bdlib.report.playground build/playground"


rule start:
    input:
        CODE,
        "book/start.ipynb",
        "scripts/start_page.py",
        "zoo/manifest.csv",
    output:
        "build/start.ipynb",
    params:
        code=CODE_NAMES,
    threads: THREADS
    message: "the page Start here"
    shell:
        "{PYTHON} scripts/start_page.py {output:q} 2>&1 | tail -n 3"


rule site:
    input:
        CODE,
        PAGES,
        rules.playground_data.output,
        rules.start.output,
        "_config.yml",
        "scripts/build_book.py",
        "scripts/glossary_links.py",
        "scripts/second_pages.py",
        expand(RESULTS + "/{profile}/{paper}.ipynb", profile=PROFILE, paper=PAPERS),
    output:
        "build/book/index.html",
    params:
        code=CODE_NAMES,
        second=[] if PROFILE == "cifar" else contents_of(Path(RESULTS, "cifar").glob("*.ipynb")),  # committed as run
    message: f"the book, from the chapters of the {PROFILE} profile"
    shell:
        "{PYTHON} scripts/build_book.py --profile {PROFILE}"
