"""The records of a study, as the chapters read them."""

from pathlib import Path

import pandas as pd

from bdlib.experiments import notebooks, records
from bdlib.experiments.parameters import decisive


def load_study(paper: str, profile: str, name: str) -> pd.DataFrame:
    """The records of one study as a table, with a column `method`; empty, with its columns, when none has been run.

    A record that is damaged is warned about, by the name of its file, and counts as missing.

    Example: `load_study("nad", "quick", "headline")`
    """
    planned = [(records.path(paper, profile, point), method) for method, point in notebooks.study(paper, profile, name)]
    present = records.read_present(dict(planned))
    runs = [(present[path], method) for path, method in planned if path in present]
    table = records.table([run for run, _ in runs])
    if not runs:
        table = records.no_runs(decisive(notebooks.parameters(paper, profile)))
    return table.assign(method=[method for _, method in runs])


def at_all_scales(paper: str, name: str = "headline") -> dict[str, pd.DataFrame]:
    """One study's records at every scale, the largest scale first; smoke says nothing and is left out.

    Example: `at_all_scales("nad")["cifar"]`
    """
    return {scale: load_study(paper, scale, name) for scale in reversed(notebooks.PROFILES) if scale != "smoke"}


def freshness(paper: str, profile: str = "quick") -> str:
    """A sentence: how many of a paper's planned records are here, and the commits that made them.

    A record that was made by another version of the code has another name: it counts as missing.
    """
    planned = _planned(paper, profile)
    present = records.read_present(planned).values()
    commits = ", ".join(sorted({record.runtime["commit"] for record in present}))
    origin = f" (made by commit {commits})" if present else ""
    return f"{len(present)} of {len(planned)} {profile} records are here{origin}."


def progress(profile: str) -> pd.DataFrame:
    """How many of the runs that each notebook's studies plan are here: columns paper, planned, here."""
    rows = []
    for paper in notebooks.papers():
        planned = _planned(paper, profile)
        rows.append({"paper": paper, "planned": len(planned), "here": len(records.read_present(planned))})
    return pd.DataFrame(rows)


def _planned(paper: str, profile: str) -> list[Path]:
    """The records that a paper's studies plan, each once: points that differ in no number share a record."""
    return list(dict.fromkeys(records.path(paper, profile, point) for point in notebooks.grid(paper, profile)))
