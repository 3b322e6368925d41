"""Judging: what the records say to a claim.

A claim is judged group by group (attack by attack) with a 95 % interval over seeds. Nobody types a verdict: it is
computed here, from the records of the claim's study.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pandas as pd

from bdlib.claims.reading import SHARES, Reading
from bdlib.claims.schema import Claim
from bdlib.claims.values import claim_values, planned
from bdlib.evaluation.intervals import LEVEL, joint_level, seed_interval
from bdlib.experiments import notebooks, studies
from bdlib.experiments.names import group_name

# From the best to the worst. The first three are known; of the others we know less and less.
VERDICTS = ("reproduced", "partly", "not reproduced", "undecided", "not testable", "not run")


@dataclass(frozen=True)
class Group:
    """One group of a claim: mean over seeds, interval (nan for one seed), number of seeds, answer, and a note on it.

    The answer is yes where the whole interval keeps the bound, no where the whole interval is beyond it, undecided
    otherwise, for a single seed, and for none. It is "not testable" where the premise of the claim does not hold, and
    no where yes is only due to a network below the floor.
    """

    name: str
    mean: float
    low: float
    high: float
    seeds: int
    answer: str
    note: str = ""

    def text(self, claim: Claim) -> str:
        """Name, mean and interval, in the claim's unit; a name that is a number follows the parameter that it is of."""
        name = group_name(claim.each, self.name)
        if math.isnan(self.mean):
            return f"{name} undefined"
        name += ":" if name[-1].isdigit() else ""
        interval = f"[{claim.text(self.low)}, {claim.text(self.high)}]" if self.seeds > 1 else "(one seed)"
        return f"{name} {claim.text(self.mean)} {interval}"


@dataclass(frozen=True)
class Judgment:
    """A claim at one scale."""

    claim: Claim
    verdict: str
    groups: tuple[Group, ...] = ()

    @property
    def measured(self) -> list[str]:
        """A piece of text for each group: name, mean, interval; its own answer where the groups differ; its note.

        One for the groups that were not run, and one for a premise that is not met.
        """
        mixed = len({group.answer for group in self.groups}) > 1
        lines = [
            one.text(self.claim) + (f" ({one.answer})" if mixed else "") + (f"; {one.note}" if one.note else "")
            for one in self.groups
            if one.seeds
        ]
        if absent := [group_name(self.claim.each, one.name) for one in self.groups if not one.seeds]:
            lines.append(f"not run: {', '.join(absent)}")
        premise = self.claim.condition("premise")
        untested = any(group.answer == "not testable" for group in self.groups)
        if premise and premise.reason and untested:
            lines.append(f"premise not met: {premise.reason.rstrip('.')}")
        return lines


def is_asked(claim: Claim, scale: str) -> bool:
    """Whether a claim is asked at a scale: its own list of scales says so, and its study is planned there."""
    return scale in claim.scales and claim.study in notebooks.studies(claim.paper, scale)


def judge(claim: Claim, scale: str) -> Judgment:
    """The claim's verdict at a scale, from the records there are. Raises ClaimError.

    A group that is planned and has no run yet is undecided, so it leaves open whether all groups say the same.
    """
    return studies.once((repr(claim), scale), lambda: _judge(claim, scale))


def _judge(claim: Claim, scale: str) -> Judgment:
    """As `judge`, always from the records."""
    if not is_asked(claim, scale):
        return Judgment(claim, "not run")
    runs = studies.load_study(claim.paper, scale, claim.study)
    if claim.other and claim.other.method == studies.SHARED_CONTROL:
        runs = studies.with_shared_control(runs, scale)
    judgment = judge_runs(claim, runs)
    if judgment.verdict in ("partly", "undecided", "not run"):
        return judgment  # as it would be with more groups that are undecided
    present = {group.name for group in judgment.groups}
    names = dict.fromkeys(str(name) for name in claim_values(claim, planned(claim, scale)).index.get_level_values(0))
    absent = [Group(name, math.nan, math.nan, math.nan, 0, "undecided") for name in names if name not in present]
    return replace(judgment, verdict="undecided", groups=(*judgment.groups, *absent)) if absent else judgment


def judge_runs(claim: Claim, runs: pd.DataFrame) -> Judgment:
    """As `judge`, from the runs of a study as `bdlib.experiments.studies.load_study` gives them.

    Where the answers at 95 % agree, they are the verdict, which needs no correction: every group had to pass by itself.
    Where they do not, a verdict speaks of the one group or the other, chosen after the fact, so all intervals are
    widened until they hold together (Bonferroni), and the answers are those of the wide ones.
    """
    groups = _groups(claim, runs, LEVEL)
    tested = [group.answer for group in groups if group.answer != "not testable"]
    if len(set(tested)) > 1:
        groups = _groups(claim, runs, joint_level(len(tested)))
    return Judgment(claim, verdict([group.answer for group in groups]), groups)


def verdict(answers: list[str]) -> str:
    """The verdict on a claim from the answers of its groups; groups that are not testable do not count.

    Reproduced is yes everywhere, not reproduced is no everywhere, partly is yes and no. Where undecided groups leave
    open which of these it will be, it is undecided.
    """
    if not answers:
        return "not run"
    found = {*answers} - {"not testable"}
    if {"yes", "no"} <= found:
        return "partly"  # whatever the undecided groups turn out to be
    known = {frozenset({"yes"}): "reproduced", frozenset({"no"}): "not reproduced", frozenset(): "not testable"}
    return known.get(frozenset(found), "undecided")


def counted_verdicts(verdicts: Iterable[str]) -> str:
    """How many there are of each verdict, the best first, such as "3 reproduced, 1 undecided"."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[each]} {each}" for each in dict.fromkeys([*VERDICTS, *counts]) if counts[each])


def _groups(claim: Claim, runs: pd.DataFrame, level: float) -> tuple[Group, ...]:
    """Every group of a claim, judged at a level of confidence."""
    premise, floor = (_failures(claim, runs, key) for key in ("premise", "floor"))
    return tuple(
        _group(claim, str(name), values, level, premise=premise(str(name)), floor=floor(str(name)))
        for name, values in claim_values(claim, runs).groupby(level=0, sort=False)
    )


def _group(claim: Claim, name: str, values: pd.DataFrame, level: float, *, premise: str, floor: str) -> Group:
    """One group; `premise` and `floor` say in what way it fails them, and are empty where it does not.

    Where a seed has divided by zero there is no mean, and nothing is decided.
    """
    by_seed = values["value"].tolist()
    mean, low, high = sum(by_seed) / len(by_seed), math.nan, math.nan
    if not math.isfinite(mean):
        mean = math.nan
    elif len(by_seed) > 1:
        mean, low, high = seed_interval(by_seed, level=level)
        low, high = max(low, float(values["least"].mean())), min(high, float(values["most"].mean()))
    answer = "yes" if claim.keeps(low) and claim.keeps(high) else "no" if claim.excludes(low, high) else "undecided"
    if floor and answer == "yes":
        answer = "no"
    return Group(name, mean, low, high, len(by_seed), "not testable" if premise else answer, premise or floor)


def _failures(claim: Claim, runs: pd.DataFrame, key: str) -> Callable[[str], str]:
    """For the name of a group, in what way it fails the claim's premise or floor; empty where it does not.

    A condition is judged by its mean over seeds. One that fixes the parameter `each` holds for all groups or for none.
    """
    condition = claim.condition(key)
    if condition is None:
        return lambda name: ""
    values = claim_values(claim, runs, key)["value"]
    fixed = all(claim.each in reading.where for reading in (condition, condition.other) if reading)
    means = values.groupby(level=0).mean()

    def failure(name: str) -> str:
        mean = float(values.mean() if fixed else means.get(name, math.nan))
        found = f"{_in_words(condition)} is {condition.text(mean)}, not {condition.expectation}"
        return "" if condition.keeps(mean) else found

    return failure


def _in_words(reading: Reading) -> str:
    """A reading as a reader of the book sees it, such as "ASR of audit (BadNets)"."""
    chosen = ", ".join(group_name(name, value) for name, value in reading.where.items())
    metric = reading.metric.upper() if reading.metric in SHARES else reading.metric
    return f"{metric} of {reading.method}" + (f" ({chosen})" if chosen else "")
