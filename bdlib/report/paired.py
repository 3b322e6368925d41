"""Methods compared seed by seed: the same seed gives both the same victim, data and shuffles."""

from collections.abc import Mapping

import pandas as pd

from bdlib.experiments.records import over_seeds
from bdlib.report.tables import interval_text, percent


def differences(
    runs: pd.DataFrame, method: str, control: str, *, by: str = "attack", score: str = "asr_after"
) -> pd.DataFrame:
    """`method` minus `control` on the same seed: for each value of `by` the mean, its 95 % interval, and the seeds."""
    one, other = (runs[runs["method"] == name].set_index([by, "seed"])[score] for name in (method, control))
    gaps = (one - other).dropna().rename("gap").reset_index()
    return over_seeds(gaps, [by], "gap").set_index(by)


def outcome(row: pd.Series) -> str:
    """What an interval of differences leaves no doubt about: "higher", "lower" or "undecided"."""
    return "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "undecided"


def gains_table(runs: pd.DataFrame, *, control: str, by: str, score: str = "asr_after") -> pd.DataFrame:
    """Every other method's ASR, or another `score`, minus that of `control`, in points: a row a method.

    A column for each value of `by`.
    """
    rows = {}
    for method in dict.fromkeys(runs["method"]):
        gaps = differences(runs, method, control, by=by, score=score)
        if method != control and len(gaps):
            rows[method] = {value: f"{interval_text(row)}, {outcome(row)}" for value, row in gaps.iterrows()}
    return pd.DataFrame(rows).T


def findings_table(studies: Mapping[str, pd.DataFrame], *, control: str) -> pd.DataFrame:
    """The headline of several methods: a row for each method and attack, means over seeds and whose ASR is lower."""
    rows = []
    for method, runs in studies.items():
        for attack, gap in differences(runs, method, control).iterrows():
            mine, other = (runs[(runs["attack"] == attack) & (runs["method"] == name)] for name in (method, control))
            rows.append((
                method, attack, accuracy_and_asr(mine, "before"), accuracy_and_asr(other, "after"),
                accuracy_and_asr(mine, "after"), {"lower": method, "higher": control}.get(outcome(gap), "undecided"),
                int(gap["seeds"]),
            ))  # fmt: skip
    names = ["method", "attack", "victim ACC / ASR", "control ACC / ASR", "method ACC / ASR", "lower ASR", "seeds"]
    return pd.DataFrame(rows, columns=names)


def accuracy_and_asr(runs: pd.DataFrame, when: str) -> str:
    """Mean ACC and ASR "before" or "after" the defense, such as "88.1 / 3.4"."""
    return f"{percent(runs[f'clean_accuracy_{when}'].mean())} / {percent(runs[f'asr_{when}'].mean())}"
