"""What a reviewer attaches: one paper's claims, verdicts, main runs, parameters, machines and records, as a document.

`bdlib report nad` writes it as one HTML file and as PDF; `bdlib.report.review_files` does the writing.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TypeAlias

import nbformat
import pandas as pd
from matplotlib.figure import Figure

from bdlib import claims, folders
from bdlib.claims.accepted import accepted_verdicts
from bdlib.claims.board import INTERVALS
from bdlib.experiments import notebooks, studies
from bdlib.experiments.records import read_present
from bdlib.report import figures, tables
from bdlib.runtime import runtime_facts

FACTS = ("commit", "device", "torch", "python", "threads")
Block: TypeAlias = str | pd.DataFrame | Figure


@dataclass(frozen=True)
class Section:
    """A part of the document: its heading, and paragraphs, tables and figures in their order."""

    title: str
    blocks: list[Block]


def review(paper: str) -> list[Section]:
    """The document on one paper, from the records that are here. Nothing is trained.

    Example: ``review("nad")[0].title``
    """
    return [
        Section("What is claimed, and what was measured", verdicts(paper)),
        *main_runs(paper),
        Section("How to run it again", rerun(paper)),
        Section("Parameters", parameters(paper)),
        Section("Machines and versions", machines(paper)),
        Section("Records", record_files(paper)),
    ]


def title(paper: str) -> str:
    """The heading of the paper's chapter."""
    first = nbformat.read(notebooks.notebook(paper), as_version=4).cells[0].source
    return str(first.splitlines()[0].lstrip("# "))


def verdicts(paper: str) -> list[Block]:
    """The claims, each with its bound, and verdict and measurement at every scale that has runs."""
    mine = [claim for claim in claims.load_claims() if claim.paper == paper]
    if not mine:
        return ["The book writes down no claim of this page."]
    table = claims.claims_table(mine).drop(columns="paper")
    asked = [f"verdict, {scale}" for scale in claims.SCALES if f"measured, {scale}" in table]
    largest = asked[0].removeprefix("verdict, ") if asked else claims.SCALES[-1]
    said = claims.counted_verdicts(table[f"verdict, {largest}"])
    shown = ["claim", "where", "expected"]
    for scale in claims.SCALES:
        shown += [name for name in (f"verdict, {scale}", f"measured, {scale}") if f"measured, {scale}" in table]
    return [f"{len(mine)} claims. At the largest scale with runs ({largest}): {said}. {INTERVALS}", table[shown]]


def main_runs(paper: str) -> Iterator[Section]:
    """The main study at each scale with runs: ACC and ASR as means with intervals, and as a figure."""
    for scale in claims.SCALES:
        if "headline" not in notebooks.studies(paper, scale):
            continue
        runs = studies.load_headline(paper, scale)
        if runs["asr_after"].isna().all():  # also where there are none
            continue
        attacks = [str(attack) for attack in dict.fromkeys(runs["attack"])]
        figures.style()
        before = runs.drop_duplicates(["attack", "seed"])
        victims = tables.means(before, ["attack"], {f"{m}_before": h for h, m in tables.METRICS.items()})
        blocks: list[Block] = ["The undefended networks:", victims.reset_index(), "After each method:"]
        blocks += [tables.means(runs, ["attack", "method"], tables.ALL_SCORES).reset_index(),
                   "Each dot is a seed; beside the dots, their mean with its 95 % interval.",
                   figures.by_attack(runs, attacks)]  # fmt: skip
        yield Section(f"Main runs at the {scale} scale", blocks)


def rerun(paper: str) -> list[Block]:
    """The commands that make the evidence anew, and how long the runs took that are here."""
    rows = []
    for scale in claims.SCALES:
        runs = list(read_present(studies.planned_records(paper, scale)).values())
        if runs:
            seconds = [float(run.runtime["seconds"]) for run in runs]
            devices = ", ".join(sorted({str(run.runtime["device"]) for run in runs}))
            rows.append({"scale": scale, "runs here": len(runs), "planned": len(studies.planned_records(paper, scale)),
                         "longest (s)": f"{max(seconds):.0f}", "together (minutes)": f"{sum(seconds) / 60:.0f}",
                         "on": devices})  # fmt: skip
    commands = [
        f"bdlib notebook {paper} out.ipynb -- the chapter, one run; parameters by -p name=value",
        f"bdlib records --paper {paper} --profile quick --list -- the runs that are missing; without --list, make them",
        "bdlib verify --scale quick -- judge all claims by the records",
    ]
    times = pd.DataFrame(rows) if rows else "No run is here yet."
    return [*commands, "Seconds are those of the defence alone, without the training of its victim.", times]


def parameters(paper: str) -> list[Block]:
    """Every parameter with its value at each profile."""
    values = {scale: notebooks.parameters(paper, scale) for scale in reversed(claims.SCALES)}
    names = next(iter(values.values()))
    return [pd.DataFrame([{"parameter": name} | {s: str(own[name]) for s, own in values.items()} for name in names])]


def machines(paper: str) -> list[Block]:
    """Where and with what the records were made, and what wrote this document."""
    rows = []
    for scale in claims.SCALES:
        kinds = Counter(tuple(str(run.runtime.get(fact, "")) for fact in FACTS)
                        for run in read_present(studies.planned_records(paper, scale)).values())  # fmt: skip
        rows += [{"scale": scale, "records": number, **dict(zip(FACTS, kind, strict=True))}
                 for kind, number in kinds.most_common()]  # fmt: skip
    here = runtime_facts()
    own = f"This document: bdlib {version('bdlib')}, commit {here['commit']}, torch {here['torch']}."
    return [pd.DataFrame(rows) if rows else "No record is here yet.", own]


def record_files(paper: str) -> list[Block]:
    """Every record behind the document, with the SHA-256 of its file."""
    rows = [
        {"file": f"{scale}/{path.parent.name}/{path.name}", "SHA-256": sha256(path.read_bytes()).hexdigest()}
        for scale in claims.SCALES
        for path in sorted(read_present(studies.planned_records(paper, scale)))
    ]
    where = f"In {folders.RESULTS.name}/. A record that is changed by hand is refused: each holds a checksum."
    return [where, pd.DataFrame(rows)] if rows else ["No record is here yet."]


def overview() -> pd.DataFrame:
    """What a reviewer can expect of each page: its command, how long its runs took, and its accepted verdicts."""
    accepted = {scale: accepted_verdicts(scale) for scale in claims.SCALES}
    rows = []
    for paper in notebooks.papers():
        quick = studies.planned_records(paper, "quick")
        present = list(read_present(quick).values())
        seconds = [float(run.runtime["seconds"]) for run in present]
        mine = [claim for claim in claims.load_claims() if claim.paper == paper]
        scale = claims.largest_scale_run(paper)
        known = [accepted[scale][claim.id] for claim in mine if claim.id in accepted[scale]]
        rows.append({
            "page": paper, "a run (s)": f"{pd.Series(seconds).median():.0f}" if seconds else tables.EMPTY,
            "longest (s)": f"{max(seconds):.0f}" if seconds else tables.EMPTY,
            "all (minutes)": f"{sum(seconds) / 60:.0f}" if seconds else tables.EMPTY,
            "records": f"{len(present)} of {len(quick)}", "verdicts at": scale if mine else tables.EMPTY,
            "verdicts": claims.counted_verdicts(known),
        })  # fmt: skip
    return pd.DataFrame(rows)
