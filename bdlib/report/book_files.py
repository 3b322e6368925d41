"""The tables and pictures of the book's own pages, which `scripts/build_book.py` writes to book/_generated."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bdlib.claims import largest_scale_run
from bdlib.experiments import manifest, notebooks, studies, zoo
from bdlib.experiments.names import attack_name, method_name
from bdlib.files import FileError, read_text
from bdlib.folders import ROOT
from bdlib.report import across, comparison, lifecycle, networks, review, stages
from bdlib.report.board_page import board_files, board_planned
from bdlib.report.lifecycle_picture import lifecycle_svg
from bdlib.report.overview import overview_svg
from bdlib.report.paired import accuracy_and_asr, findings_table
from bdlib.report.scoreboard import scoreboard_files
from bdlib.report.tables import percent

TITLES = {
    "attacks": "attack gallery",
    "comparison": "comparison",
    "survey": "combining stages",
    "workshop": "workshop",
    "reactivation": "re-activation",
    "board": "board, beyond the chapters",
    "all": "all",
}  # of pages that are no paper's
OUTCOMES = ("headline", "baselines", "suite", "gtsrb")  # the studies that the page on speed and scale shows


@studies.reading_once()
def generated_files(profile: str) -> dict[str, bytes]:
    """Every generated file of the book by name, from the records of a profile."""
    registry = lifecycle.load_registry()
    combined = studies.load_study("survey", profile, "combinations")
    tables = {
        "findings.csv": findings(),
        "progress.csv": progress(profile),
        "trained.csv": trained(),
        "paper_scale.csv": planned("paper"),
        "twins.csv": across.twin_prices(),
        "verify.csv": review.overview(),
        "left.csv": across.what_is_left(),
        "second_scores.csv": across.second_scores(),
        "beside_benchmark.csv": across.beside_benchmark(),
        "zoo.csv": zoo_victims(),
        "applicability.csv": networks.applicability(),
        "assumptions.csv": lifecycle.assumptions(registry),
        "combinations.csv": stages.combinations(combined),
        "queries_quick.csv": stages.queries("quick"),
        "board_planned.csv": board_planned(),
        **benchmarks(),
    }
    pictures = {"overview.svg": overview_svg()}  # the README shows the same file
    return (
        {name: table.to_csv(index=False).encode() for name, table in tables.items()}
        | scoreboard_files()
        | board_files()
        | _texts(registry, combined)
        | pictures
    )


def _texts(registry: lifecycle.Registry, combined: pd.DataFrame) -> dict[str, bytes]:
    """What pages include as text: sentences, lists, a drawing, and tables where something has been run.

    `combined` are the runs of the survey's combinations.
    """
    return {
        "paper_outcomes.txt": _table_or_sentence(
            outcomes("paper"),
            "Outcomes at paper scale: ACC / ASR, means over seeds, in per cent",
            "paper-outcomes",
            "No run at paper scale has an outcome yet.",
        ),
        "queries_cifar.txt": _table_or_sentence(
            stages.queries("cifar"),
            "STRIP on CIFAR-10 and the published victims, means over seeds",
            "queries-cifar",
            "STRIP has not been run on CIFAR-10 yet.",
        ),
        "verdict_lists.txt": across.verdict_lists().encode(),
        "worst_cases.txt": across.worst_cases().encode(),
        "seed_spreads.txt": across.seed_spreads().encode(),
        # Markdown takes a div as it is; in a bare svg it would turn the -- of its style into dashes.
        "lifecycle.txt": b"<div>" + lifecycle_svg(registry) + b"</div>",
        "stages.txt": lifecycle.stage_words(registry).encode(),
        "combinations.txt": stages.combination_words(combined).encode(),
        "networks.csv": read_text(ROOT / "results" / "cifar" / "networks.csv").encode(),
    }


def page_title(key: str) -> str:
    """What a table calls a chapter, or all of them."""
    return TITLES.get(key) or method_name(key)


def findings(scale: str | None = None) -> pd.DataFrame:
    """What the headline studies of the repairs say beside the shared control, a row for each paper and attack.

    Each paper's rows are of the largest scale of which it has records, or of `scale`.
    """
    papers = [paper for paper in comparison.PAPERS if "headline" in notebooks.studies(paper, "quick")]
    scales = {method_name(paper): scale or largest_scale_run(paper) for paper in papers}
    runs = {method_name(paper): studies.load_headline(paper, scales[method_name(paper)]) for paper in papers}
    table = findings_table(runs, control=studies.SHARED_CONTROL)
    table.insert(2, "scale", table["method"].map(scales))
    return table if len(table) else pd.DataFrame([["none", "not run yet", *[""] * 6]], columns=table.columns)


def zoo_victims() -> pd.DataFrame:
    """The published victims, as zoo/manifest.csv lists them."""
    rows = [
        [row.dataset, attack_name(row.attack), row.seed, row.model, percent(row.clean_accuracy), percent(row.asr),
         f"{row.bytes / 1e6:.1f}"]
        for row in zoo.manifest().values()
    ]  # fmt: skip
    return pd.DataFrame(rows or [["none yet", *[""] * 6]],
                        columns=["data set", "attack", "seed", "network", "ACC", "ASR", "size (MB)"])  # fmt: skip


def progress(profile: str) -> pd.DataFrame:
    """How many of the planned runs have a record, for each page."""
    counts = studies.progress(profile)
    return counts.assign(paper=counts["paper"].map(page_title)).rename(columns={"paper": "page"})


def trained(scale: str | None = None) -> pd.DataFrame:
    """ACC and ASR of the defenses that train, beside plain training on the same poisoned sets; means over seeds.

    The rows are of the largest scale of which the comparison has records, or of `scale`.
    """
    scale = scale or largest_scale_run("comparison")
    runs = comparison.in_training(scale)
    rows = [
        {"method": method, "attack": attack_name(attack), "scale": scale,
         "plain training ACC / ASR": accuracy_and_asr(mine, "before"),
         "method ACC / ASR": accuracy_and_asr(mine, "after"), "RA": percent(mine["robust_accuracy_after"].mean()),
         "seeds": len(mine)}
        for (method, attack), mine in runs.groupby(["method", "attack"], sort=False)
    ]  # fmt: skip
    return _or_none(rows, method="none", attack="not run yet")


def planned(profile: str) -> pd.DataFrame:
    """How many runs and victims a profile plans for each page, and how many records are here and missing."""
    runs = manifest.table(manifest.planned_runs(profile))
    return pd.DataFrame([
        {"page": page_title(str(paper)), "runs planned": len(mine), "victims": mine["victim"].nunique(),
         "here": int((mine["state"] == "here").sum()), "missing": int((mine["state"] == "missing").sum())}
        for paper, mine in [*runs.groupby("paper"), ("all", runs)]
    ])  # fmt: skip


def outcomes(profile: str) -> pd.DataFrame:
    """ACC and ASR in a profile's main studies, a row for each method, data set and attack; means over seeds."""
    names = [(paper, name) for paper in notebooks.papers() for name in notebooks.studies(paper, profile)]
    tables = [studies.load_study(paper, profile, name) for paper, name in names if name in OUTCOMES]
    rows = [
        {"page": page_title(key[0]), "method": key[1], "data set": key[2], "attack": attack_name(key[3]),
         "ACC / ASR before": accuracy_and_asr(mine, "before"), "after": accuracy_and_asr(mine, "after"),
         "seeds": len(mine)}
        for runs in tables if len(runs)
        for key, mine in runs.groupby(["paper", "method", "dataset", "attack"], sort=False)
    ]  # fmt: skip
    return _or_none(rows, page="none", method="not run yet")


def benchmarks() -> dict[str, pd.DataFrame]:
    """The committed tables of the benchmark, one below the other, and the machines that they were measured on."""
    rows, machines = [], []
    for path in sorted((ROOT / "results" / "benchmark").glob("*.json")):
        try:
            own, machine = _benchmark(json.loads(read_text(path)))
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path}: it is no benchmark: {type(error).__name__}: {error}") from None
        rows += own
        machines.append(machine)
    none = {"scale": "none", "what": "not run yet"}
    return {"benchmark.csv": _or_none(rows, **none), "benchmark_machines.csv": _or_none(machines, **none)}


def _benchmark(content: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of one benchmark as the page shows them, and the machine that it was measured on."""
    rows = []
    for row in content["rows"]:
        value, low, high = (_rounded(row[key]) for key in ("value", "low", "high"))
        rows.append({"scale": content["profile"], "what": row["what"], "measure": row["measure"], "value": value,
                     "low to high": f"{low} to {high}" if low != high else ""})  # fmt: skip
    return rows, {"scale": content["profile"], **content["runtime"]}


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table_or_sentence(table: pd.DataFrame, caption: str, name: str, none: str) -> bytes:
    """A table as Markdown for a page to include, or a sentence where nothing has been run."""
    if (table == "not run yet").to_numpy().any():
        return f"{none}\n".encode()
    return f"~~~{{csv-table}} {caption}\n:header-rows: 1\n:name: {name}\n\n{table.to_csv(index=False)}~~~\n".encode()


def _or_none(rows: Sequence[Mapping[str, object]], **none: str) -> pd.DataFrame:
    """The rows as a table; one row that says so where there are none, as Sphinx refuses an empty file."""
    return pd.DataFrame(rows or [none])
