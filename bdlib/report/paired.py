"""What an attacker's choice gains: higher success rates, seed against seed, in sentences and tables.

The counterpart of `bdlib.tables.findings`, whose methods are defences and want the rate low.
"""

import pandas as pd

from bdlib.experiments.records import over_seeds
from bdlib.report.tables import with_interval


def lead(runs: pd.DataFrame, method: str, control: str, *, by: str, score: str = "asr_after") -> pd.DataFrame:
    """`method` minus `control` on the same seed: for each value of `by` the mean, its 95 % interval, and the seeds."""
    both = [runs[runs["method"] == name].set_index([by, "seed"])[score] for name in (method, control)]
    difference = (both[0] - both[1]).dropna().rename("gap").reset_index()
    return over_seeds(difference, [by], "gap").set_index(by)


def outcome(row: pd.Series) -> str:
    """What an interval of differences leaves no doubt about."""
    return "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "undecided"


def leads(runs: pd.DataFrame, *, method: str, control: str, by: str, what: str) -> str:
    """The outcome in sentences, Markdown: for each value of `by`, called `what`, whose victims have the higher ASR."""
    gaps = lead(runs, method, control, by=by)
    if gaps.empty:
        return f"No seed has records of both {method} and {control} yet."
    prices = lead(runs, method, control, by=by, score="clean_accuracy_after")
    said = gaps.apply(outcome, axis=1)
    wins, losses = int((said == "higher").sum()), int((said == "lower").sum())
    head = (
        f"Paired over seeds, {method} has a higher ASR than {control} beyond doubt for {wins} of {len(gaps)} {what}, "
        f"a lower one for {losses}."
    )
    lines = [
        f"- **{value}**: {said[value]}. ASR, {method} minus {control}: {with_interval(row)} points; "
        f"ACC: {with_interval(prices.loc[value])} points ({row['seeds']:.0f} paired seeds)."
        for value, row in gaps.iterrows()
    ]
    return "\n".join([head, "", *lines])


def ladder(runs: pd.DataFrame, *, control: str, by: str, score: str = "asr_after") -> pd.DataFrame:
    """Every other method's ASR, or another `score`, minus that of `control`, in points: a row a method.

    A column for each value of `by`.
    """
    rows = {}
    for method in dict.fromkeys(runs["method"]):
        gaps = lead(runs, method, control, by=by, score=score)
        if method != control and len(gaps):
            rows[method] = {value: f"{with_interval(row)}, {outcome(row)}" for value, row in gaps.iterrows()}
    return pd.DataFrame(rows).T
