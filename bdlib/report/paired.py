"""Methods compared seed by seed: the same seed gives both the same victim, data and shuffles.

A comparison speaks of several attacks or budgets at once, so its intervals are widened until they hold together at
95 % (Bonferroni).
"""

from collections.abc import Mapping

import pandas as pd

from bdlib.evaluation.intervals import joint_level
from bdlib.experiments.names import attack_name, group_name
from bdlib.experiments.records import over_seeds
from bdlib.report.tables import interval_text, percent


def differences(
    runs: pd.DataFrame, method: str, control: str, *, by: str = "attack", score: str = "asr_after"
) -> pd.DataFrame:
    """`method` minus `control` on the same seed: for each value of `by` the mean, its interval, and the seeds.

    The intervals of all values hold together at 95 %; those of a score of images end at -1 and 1.
    """
    one, other = (runs[runs["method"] == name].set_index([by, "seed"])[score] for name in (method, control))
    gaps = (one - other).dropna().rename("gap").reset_index()
    level = joint_level(max(gaps[by].nunique(), 1))
    limits = (-1.0, 1.0) if score.endswith(("_before", "_after")) else None
    return over_seeds(gaps, [by], "gap", level=level, limits=limits).set_index(by)


def outcome(row: pd.Series) -> str:
    """On which side of zero an interval of differences is: "higher", "lower", or "undecided" where it contains zero."""
    return "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "undecided"


def gains_table(runs: pd.DataFrame, *, control: str, by: str, score: str = "asr_after") -> pd.DataFrame:
    """Every other method's ASR, or another `score`, minus that of `control`, in points: a row a method.

    A column for each value of `by`. The intervals of a row hold together at 95 %.
    """
    rows = {}
    for method in dict.fromkeys(runs["method"]):
        gaps = differences(runs, method, control, by=by, score=score)
        if method != control and len(gaps):
            rows[method] = {group_name(by, at): f"{interval_text(row)}, {outcome(row)}" for at, row in gaps.iterrows()}
    return pd.DataFrame(rows).T


def findings_table(studies: Mapping[str, pd.DataFrame], *, control: str) -> pd.DataFrame:
    """The headline of several methods: a row for each method and attack, means over seeds and whose ASR is lower.

    One is named only where the interval excludes zero; the intervals of a method's attacks hold together at 95 %.
    """
    rows = []
    for method, runs in studies.items():
        for attack, gap in differences(runs, method, control).iterrows():
            mine, other = (runs[(runs["attack"] == attack) & (runs["method"] == name)] for name in (method, control))
            rows.append((
                method, attack_name(attack), accuracy_and_asr(mine, "before"), accuracy_and_asr(other, "after"),
                accuracy_and_asr(mine, "after"), {"lower": method, "higher": control}.get(outcome(gap), "undecided"),
                int(gap["seeds"]),
            ))  # fmt: skip
    names = ["method", "attack", "victim ACC / ASR", "control ACC / ASR", "method ACC / ASR", "lower ASR", "seeds"]
    return pd.DataFrame(rows, columns=names)


def accuracy_and_asr(runs: pd.DataFrame, when: str) -> str:
    """Mean ACC and ASR "before" or "after" the defense, such as "88.1 / 3.4"."""
    return f"{percent(runs[f'clean_accuracy_{when}'].mean())} / {percent(runs[f'asr_{when}'].mean())}"
