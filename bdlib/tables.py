"""The chapters' tables, in per cent with one decimal, built from scores and records."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bdlib.evaluate import Scores, defence_effectiveness
from bdlib.records import over_seeds

EMPTY = ""  # a number that was never run or never published stays empty
METHODS = {"none": "victim", "fine_tune": "fine-tuning", "nad": "NAD"}


def scores(models: Mapping[str, Scores]) -> pd.DataFrame:
    """ACC, ASR, RA and DER of several models, the first being the undefended victim."""
    first = next(iter(models.values()))
    rows = {
        name: {
            "ACC (%)": one(s.clean_accuracy),
            "ASR (%)": one(s.asr),
            "RA (%)": one(s.robust_accuracy),
            "DER": f"{defence_effectiveness(first, s):.3f}",
        }
        for name, s in models.items()
    }
    return pd.DataFrame(rows).T


def against_reported(
    here: Mapping[str, Scores], paper_scale: pd.DataFrame, published: pd.DataFrame, *, attack: str
) -> pd.DataFrame:
    """This run | paper scale | reported, a row a method; cells that nobody has run or published are empty.

    `paper_scale` holds records made at the paper profile, with a column `method`; `published` the reported rows.
    """
    rows = {}
    for method, own in here.items():
        cells = {("this run", "ACC (%)"): one(own.clean_accuracy), ("this run", "ASR (%)"): one(own.asr)}
        for name, score in (("ACC (%)", "clean_accuracy"), ("ASR (%)", "asr")):
            cells["paper scale", name] = measured(paper_scale, attack, method, score)
        for source, rows_of in published[published["attack_key"] == attack].groupby("source", sort=False):
            row = rows_of[rows_of["defense_key"].map(METHODS) == method]
            for name, column in (("ACC (%)", "acc_percent"), ("ASR (%)", "asr_percent")):
                cells[f"reported: {source}", name] = f"{row.iloc[0][column]:.1f}" if len(row) else EMPTY
        rows[method] = cells
    return pd.DataFrame(rows).T


def measured(runs: pd.DataFrame, attack: str, method: str, score: str) -> str:
    """Mean over seeds of a method's score in the records; of the victim's where that is the method."""
    if runs.empty:
        return EMPTY
    mine = runs[(runs["attack"] == attack) & ((runs["method"] == method) | (method == "victim"))]
    column = f"{score}_before" if method == "victim" else f"{score}_after"
    return one(mine[column].mean()) if len(mine) else EMPTY


def means(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean ACC and ASR over seeds with 95 % intervals, for every value of the columns `by`."""
    columns = {"clean_accuracy_after": "ACC (%)", "asr_after": "ASR (%)"}
    parts = []
    for score, label in columns.items():
        summary = over_seeds(runs, list(by), score).set_index(list(by))
        parts.append(summary.apply(with_interval, axis=1).rename(label))
    return pd.concat([*parts, summary["seeds"].astype(int)], axis=1)


def paired_difference(runs: pd.DataFrame, score: str, *, method: str, control: str) -> pd.DataFrame:
    """Method minus control, in points, seed by seed: for each attack the mean, its interval, and who wins."""
    wide = runs.pivot_table(index=["attack", "seed"], columns="method", values=score, sort=False)
    gap = (wide[method] - wide[control]).rename("gap").reset_index()
    summary = over_seeds(gap, ["attack"], "gap").set_index("attack")
    words = summary.apply(lambda row: verdict(row["low"], row["high"], method, control), axis=1)
    shown = summary.apply(with_interval, axis=1)
    return pd.DataFrame({f"{method} minus {control} (points)": shown, "lower ASR": words})


def verdict(low: float, high: float, method: str, control: str) -> str:
    """Which of two has the lower ASR, when the interval of the difference leaves no doubt."""
    if high < 0:
        return method
    return control if low > 0 else "undecided"


def with_interval(row: pd.Series) -> str:
    return f"{100 * row['mean']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def one(share: float) -> str:
    """A share as per cent with one decimal."""
    return f"{100 * share:.1f}"
