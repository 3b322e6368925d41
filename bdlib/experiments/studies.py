"""The records of a study, as the chapters read them."""

import pandas as pd

from bdlib.experiments import notebooks, records
from bdlib.experiments.run import code_of
from bdlib.runtime import RESULTS


def load_study(paper: str, profile: str, name: str) -> pd.DataFrame:
    """The records of one study as a table, with a column `method`; empty, with its columns, when none has been run."""
    runs, methods = [], []
    for method, point in notebooks.study(paper, profile, name):
        path = RESULTS / profile / paper / f"{records.name(point)}.json"
        if path.is_file():
            runs.append(records.read(path))
            methods.append(method)
    table = records.table(runs) if runs else records.no_runs(notebooks.parameters(paper, profile))
    return table.assign(method=methods)


def freshness(paper: str, profile: str = "quick") -> str:
    """A sentence: how many of a paper's records there are, what made them, and whether their code changed since."""
    kept = records.load(paper, profile)
    due = len(notebooks.grid(paper, profile))
    stale = sum(record.runtime.get("code") != code_of(paper, record.parameters) for record in kept)
    commits = sorted({record.runtime["commit"] for record in kept})
    words = f"{stale} of them made by code that has changed since" if stale else "all made by the code as it is now"
    origin = f", {words} (commit {', '.join(commits)})" if kept else ""
    return f"{len(kept)} of {due} {profile} records are here{origin}."


def progress(profile: str) -> pd.DataFrame:
    """How many of the runs that each notebook's studies ask for are here: columns paper, planned, here."""
    rows = []
    for paper in notebooks.papers():
        due = {records.name(point) for point in notebooks.grid(paper, profile)}
        here = {path.stem for path in (RESULTS / profile / paper).glob("*.json")}
        rows.append({"paper": paper, "planned": len(due), "here": len(due & here)})
    return pd.DataFrame(rows)
