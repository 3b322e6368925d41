"""What records say, in sentences of Markdown that follow the records: no number in them is typed."""

import pandas as pd

from bdlib.experiments.records import over_seeds
from bdlib.experiments.studies import SHARED_CONTROL
from bdlib.report.paired import differences, outcome
from bdlib.report.tables import interval_text, percent


def findings(runs: pd.DataFrame, *, method: str, control: str) -> str:
    """Whether a defense leaves a lower ASR than its control: for each attack by how much, and whether beyond doubt."""
    if runs.empty:
        return f"No record of {method} at this profile yet: nothing can be said."
    words = {"lower": f"**{method}** removes more", "higher": f"**{control}** removes more",
             "undecided": "neither is shown to be better"}  # fmt: skip
    outcomes, lines = _paired_lines(runs, method, control, "attack", words)
    head = f"{method} has a lower ASR than {control} beyond doubt on {outcomes.count('lower')} of {len(lines)} attacks."
    return _paragraph(head, lines, method, control)


def gains(runs: pd.DataFrame, *, method: str, control: str, by: str, groups: str) -> str:
    """Whether an attacker's method has a higher ASR than its control, for each value of `by`, called `groups`."""
    words = {word: word for word in ("higher", "lower", "undecided")}
    outcomes, lines = _paired_lines(runs, method, control, by, words)
    head = (
        f"{method} has a higher ASR than {control} beyond doubt for {outcomes.count('higher')} of {len(lines)} "
        f"{groups}, a lower one for {outcomes.count('lower')}."
    )
    return _paragraph(head, lines, method, control)


def _paired_lines(
    runs: pd.DataFrame, method: str, control: str, by: str, words: dict[str, str]
) -> tuple[list[str], list[str]]:
    """For each value of `by` the outcome of the difference in ASR, and a line that begins with its word."""
    asr = differences(runs, method, control, by=by)
    accuracy = differences(runs, method, control, by=by, score="clean_accuracy_after")
    outcomes = [outcome(row) for _, row in asr.iterrows()]
    lines = [
        f"- **{value}**: {words[result]}. ASR, {method} minus {control}: {interval_text(row)} points; "
        f"ACC: {interval_text(accuracy.loc[value])} points ({row['seeds']:.0f} paired seeds)."
        for (value, row), result in zip(asr.iterrows(), outcomes, strict=True)
    ]
    return outcomes, lines


def _paragraph(head: str, lines: list[str], method: str, control: str) -> str:
    if not lines:
        return f"No seed has records of both {method} and {control} yet."
    return "\n".join([f"Paired over seeds, {head}", "", *lines])


def remaining_asr(runs: pd.DataFrame, *, method: str) -> str:
    """A sentence: the attacks in the order of the success rate that a method leaves them."""
    means = runs[runs["method"] == method].groupby("attack")["asr_after"].mean().sort_values(ascending=False)
    if means.empty:
        return f"No record of {method} at this profile yet."
    listed = ", ".join(f"{attack} {percent(asr)} %" for attack, asr in means.items())
    return f"Mean ASR that {method} leaves: {listed}."


def difference(runs: pd.DataFrame, one: str, other: str, *, names: tuple[str, str]) -> str:
    """A sentence: by how much the share in column `one` exceeds that in `other`, attack by attack, paired by seed."""
    if runs.empty or one not in runs:
        return f"No record has measured {names[0]} at this profile yet."
    gaps = over_seeds(runs.assign(gap=runs[one] - runs[other]).dropna(subset="gap"), ["attack"], "gap")
    listed = ", ".join(f"{row['attack']} {interval_text(row)}" for _, row in gaps.iterrows())
    higher, lower = int((gaps["low"] > 0).sum()), int((gaps["high"] < 0).sum())
    doubt = f"beyond doubt higher on {higher} of {len(gaps)} attacks, lower on {lower}"
    return f"**{names[0].capitalize()}** minus **{names[1]}**, in points: {listed}; {doubt}."


def same_scores(runs: pd.DataFrame, one: str, other: str) -> str:
    """A sentence: whether two methods gave the same scores on every seed, and if not how far apart they are."""
    scores = ["asr_after", "clean_accuracy_after", "robust_accuracy_after"]
    first, second = (runs[runs["method"] == name].set_index("seed")[scores] for name in (one, other))
    if first.empty or second.empty:
        return f"No records of both {one} and {other} yet."
    gap = (first - second).abs().max().max()
    if gap == 0:
        return f"On all {len(first)} seeds, *{one}* and *{other}* have the same ACC, ASR and RA, to the last digit."
    return f"*{one}* and *{other}* differ by up to {100 * gap:.1f} points."


def against_controls(runs: pd.DataFrame, *, method: str, control: str = "fine-tuning") -> str:
    """`findings` against a chapter's own control, which takes the same steps, and against the one that all share.

    `runs` are those of `bdlib.experiments.studies.load_headline`.
    """
    own = findings(runs, method=method, control=control)
    words = (
        f"The *{SHARED_CONTROL}* is the same in all chapters on repairs: fine-tuning at the highest rate that the "
        f"accuracy on held-out clean images bears, for as many epochs as the longest schedule among them. "
    )
    return f"{own}\n\n{words}{findings(runs, method=method, control=SHARED_CONTROL)}"
