"""What records say, in sentences of Markdown that follow the records: no number in them is typed."""

from collections.abc import Sequence

import pandas as pd

from bdlib.evaluation.intervals import joint_level
from bdlib.experiments.names import group_name
from bdlib.experiments.records import over_seeds
from bdlib.experiments.studies import SHARED_CONTROL
from bdlib.report.paired import differences, outcome
from bdlib.report.tables import counted, interval_text, percent

TOGETHER = "The intervals hold together at 95 %."


def findings(runs: pd.DataFrame, *, method: str, control: str) -> str:
    """Whether a defense leaves a lower ASR than its control: by how much for each attack, with the interval.

    The intervals of all attacks hold together at 95 % (Bonferroni), because the first sentence counts them.
    """
    if runs.empty:
        return f"No record of {method} at this profile yet: nothing can be said."
    words = {"lower": f"**{method}** removes more", "higher": f"**{control}** removes more",
             "undecided": "neither is shown to be better"}  # fmt: skip
    outcomes, lines = _paired_lines(runs, method, control, "attack", words)
    head = (
        f"{method} has a lower ASR than {control} on {outcomes.count('lower')} of {len(lines)} attacks and a higher "
        f"one on {outcomes.count('higher')}: there the interval of the difference excludes zero."
    )
    return _paragraph(_of_one(method, control, outcomes, "lower", "attack") or head, lines, method, control)


def gains(runs: pd.DataFrame, *, method: str, control: str, by: str, groups: str) -> str:
    """Whether an attacker's method has a higher ASR than its control, for each value of `by`, called `groups`."""
    words = {word: word for word in ("higher", "lower", "undecided")}
    outcomes, lines = _paired_lines(runs, method, control, by, words)
    head = (
        f"{method} has a higher ASR than {control} for {outcomes.count('higher')} of {len(lines)} {groups} and a lower "
        f"one for {outcomes.count('lower')}: there the interval of the difference excludes zero."
    )
    return _paragraph(_of_one(method, control, outcomes, "higher", _noun(by)) or head, lines, method, control)


def _paired_lines(
    runs: pd.DataFrame, method: str, control: str, by: str, words: dict[str, str]
) -> tuple[list[str], list[str]]:
    """For each value of `by` the outcome of the difference in ASR, and a line that begins with its word."""
    asr = differences(runs, method, control, by=by)
    accuracy = differences(runs, method, control, by=by, score="clean_accuracy_after")
    outcomes = [outcome(row) for _, row in asr.iterrows()]
    lines = [
        f"- **{group_name(by, value)}**: {words[result]}. "
        f"ASR, {method} minus {control}: {interval_text(row)} points; "
        f"ACC: {interval_text(accuracy.loc[value])} points ({counted(int(row['seeds']), 'paired seed')})."
        for (value, row), result in zip(asr.iterrows(), outcomes, strict=True)
    ]
    return outcomes, lines


def _noun(by: str) -> str:
    return by if by == "attack" else f"value of {by.replace('_', ' ')}"


def _of_one(method: str, control: str, outcomes: list[str], asked: str, noun: str) -> str:
    """What a single group says; empty where there are more, or none."""
    if len(outcomes) != 1:
        return ""
    where = f"on the one {noun} that was run with both"
    if outcomes == ["undecided"]:
        return f"neither {method} nor {control} is shown to have the {asked} ASR {where}."
    return f"{method} has a {outcomes[0]} ASR than {control} {where}: the interval of the difference excludes zero."


def _paragraph(head: str, lines: list[str], method: str, control: str) -> str:
    if not lines:
        return f"No seed has records of both {method} and {control} yet."
    together = f" {TOGETHER}" if len(lines) > 1 else ""
    return "\n".join([f"Paired over seeds, {head}{together}", "", *lines])


def parts_that_show(runs: pd.DataFrame, *, method: str, without: Sequence[str]) -> str:
    """Which versions of a method, each without one of its parts, leave more ASR than the whole, paired by seed."""
    if runs.empty:
        return f"No record of {method} at this profile yet."
    means = runs.groupby("method")["asr_after"].mean()
    left = ", ".join(f"*{name}* {percent(means[name])} %" for name in (method, *without) if name in means)
    gaps = {name: row for name in without for _, row in differences(runs, method, name).iterrows()}
    listed = "; ".join(f"*{name}* {interval_text(row)}" for name, row in gaps.items())
    shown = [f"*{name}*" for name, row in gaps.items() if outcome(row) == "lower"]
    end = f"no interval is below zero, so none of these parts of {method} shows in the ASR"
    if shown:
        end = f"the interval is below zero, so that the part shows, for {', '.join(shown)}"
    return f"Mean ASR left: {left}. *{method}* minus each of the others, in points: {listed}; {end}."


def smallest_difference(runs: pd.DataFrame, method: str, control: str, *, by: str) -> str:
    """How large a difference in ASR must be to be seen with the seeds there are: half of its interval's width."""
    gaps = differences(runs, method, control, by=by).dropna(subset="low")
    if gaps.empty:
        return f"No two seeds have records of both {method} and {control} yet."
    listed = ", ".join(
        f"{percent((row['high'] - row['low']) / 2)} points "
        f"with {counted(int(row['seeds']), 'paired seed')} ({group_name(by, value)})"
        for value, row in gaps.iterrows()
    )
    return (
        f"The interval of *{method}* minus *{control}* reaches this far to each side: {listed}. "
        "A smaller difference cannot be told from none."
    )


def remaining_asr(runs: pd.DataFrame, *, method: str) -> str:
    """A sentence: the attacks in the order of the success rate that a method leaves them."""
    means = runs[runs["method"] == method].groupby("attack")["asr_after"].mean().sort_values(ascending=False)
    if means.empty:
        return f"No record of {method} at this profile yet."
    listed = ", ".join(f"{group_name('attack', attack)} {percent(asr)} %" for attack, asr in means.items())
    return f"Mean ASR that {method} leaves: {listed}."


def difference(runs: pd.DataFrame, one: str, other: str, *, names: tuple[str, str]) -> str:
    """A sentence: by how much the share in column `one` exceeds that in `other`, attack by attack, paired by seed."""
    if runs.empty or one not in runs:
        return f"No record has measured {names[0]} at this profile yet."
    both = runs.assign(gap=runs[one] - runs[other]).dropna(subset="gap")
    level = joint_level(max(both["attack"].nunique(), 1))
    gaps = over_seeds(both, ["attack"], "gap", level=level, limits=(-1, 1))
    listed = ", ".join(f"{group_name('attack', row['attack'])} {interval_text(row)}" for _, row in gaps.iterrows())
    higher, lower = int((gaps["low"] > 0).sum()), int((gaps["high"] < 0).sum())
    where = f"on {higher + lower} of {counted(len(gaps), 'attack')}"
    sides = f"the interval excludes zero {where}: {higher} higher, {lower} lower"
    together = f" {TOGETHER}" if len(gaps) > 1 else ""
    if len(gaps) and gaps["low"].isna().all():
        sides, together = "one seed has no interval", ""
    return f"**{names[0][0].upper()}{names[0][1:]}** minus **{names[1]}**, in points: {listed}; {sides}.{together}"


def same_scores(runs: pd.DataFrame, one: str, other: str) -> str:
    """A sentence: whether two methods gave the same scores on every seed, and if not how far apart they are."""
    scores = ["asr_after", "clean_accuracy_after", "robust_accuracy_after"]
    first, second = (runs[runs["method"] == name].set_index("seed")[scores] for name in (one, other))
    if first.empty or second.empty:
        return f"No records of both {one} and {other} yet."
    gap = (first - second).abs().max().max()
    if gap == 0:
        seeds = "On the one seed" if len(first) == 1 else f"On all {len(first)} seeds"
        return f"{seeds}, *{one}* and *{other}* have the same ACC, ASR and RA, to the last digit."
    return f"*{one}* and *{other}* differ by up to {100 * gap:.1f} points."


def quotient(runs: pd.DataFrame, one: str, other: str, *, name: str) -> str:
    """A sentence: the quotient of the columns `one` and `other`, called `name`, attack by attack, paired by seed.

    Example: `quotient(runs, "head_trigger_shift_after", "head_trigger_shift_before", name="trigger shift")`
    """
    if runs.empty or not {one, other} <= {*runs}:
        return f"No record has measured {name} at this profile yet."
    ratios = over_seeds(runs.assign(ratio=runs[one] / runs[other]).dropna(subset="ratio"), ["attack"], "ratio")
    listed = [
        f"{group_name('attack', row['attack'])} {interval_text(row, factor=1, digits=2)}"
        for _, row in ratios.iterrows()
    ]
    below, above = int((ratios["high"] < 1).sum()), int((ratios["low"] > 1).sum())
    sides = f"the interval is below one on {below} of {counted(len(ratios), 'attack')}, above one on {above}"
    return f"**{name}**: {', '.join(listed)}; {sides}."


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
