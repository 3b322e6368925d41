"""A stranger's row among the book's: the same victims, the same clean images."""

import math
from collections.abc import Sequence

import pandas as pd

from bdlib.experiments.names import method_name
from bdlib.experiments.records import Record, over_seeds
from bdlib.experiments.records import table as as_table
from bdlib.report import comparison
from bdlib.report.tables import interval_text

SHARES = {"ACC (%)": "clean_accuracy", "ASR (%)": "asr", "RA (%)": "robust_accuracy"}
MARK = "> "  # before the name of the stranger's row
VICTIM = "victim, undefended"
SCORES = [f"{score}_{when}" for score in SHARES.values() for when in ("before", "after")]
COLUMNS = ["method", "attack", "seed", *SCORES, "der", "forward_passes", "backward_passes", "seconds"]


def as_runs(records: Sequence[Record], name: str = "") -> pd.DataFrame:
    """Records as a table of runs, with a column `method`: `name` with a mark, or else what each record says."""
    runs = as_table(list(records))
    names = [MARK + name if name else method_name(str(record.parameters["defense"])) for record in records]
    return runs.assign(method=names)[COLUMNS]


def of_the_book(profile: str, attacks: Sequence[str], seeds: Sequence[int], *, trains: bool = False) -> pd.DataFrame:
    """The book's own records of these attacks and seeds: of its repairs, or of its defenses that train.

    Raises `bdlib.report.comparison.Mismatch` where they were not made on the same victims.
    """
    runs = comparison.in_training(profile) if trains else comparison.repairs(profile)
    return runs[runs["attack"].isin(attacks) & runs["seed"].isin(seeds)][COLUMNS]


def among(own: pd.DataFrame, others: pd.DataFrame | None, attack: str) -> pd.DataFrame:
    """The rows of one attack, the best DER first: means with 95 % intervals over seeds; a mean alone of one seed.

    `own` are the stranger's runs; the first row is the victim before any defense.
    """
    mine = own[own["attack"] == attack]
    rows = {VICTIM: _row(mine.drop_duplicates("seed"), "before")}
    theirs = mine if others is None else pd.concat([mine, others[others["attack"] == attack]], ignore_index=True)
    groups = {str(method): group for method, group in theirs.groupby("method", sort=False)}
    for method in sorted(groups, key=lambda method: -groups[method]["der"].mean()):
        rows[method] = _row(groups[method], "after")
    return pd.DataFrame(rows).T


def _row(runs: pd.DataFrame, when: str) -> dict[str, str]:
    cells = {heading: _mean(runs, f"{score}_{when}") for heading, score in SHARES.items()}
    if when == "before":
        return cells | {"DER (%)": "50.0", "passes forward": "", "backward": "", "seconds": "", "seeds": str(len(runs))}
    work = {"passes forward": "forward_passes", "backward": "backward_passes", "seconds": "seconds"}
    costs = {heading: _number(runs[column].mean()) for heading, column in work.items()}
    return cells | {"DER (%)": _mean(runs, "der")} | costs | {"seeds": str(runs["seed"].nunique())}


def _mean(runs: pd.DataFrame, column: str) -> str:
    summary = over_seeds(runs.assign(all=0), ["all"], column, limits=(0, 1)).iloc[0]
    return interval_text(summary)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
