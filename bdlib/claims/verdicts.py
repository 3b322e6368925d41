"""Judging: what the records say to a claim.

A claim is judged group by group (attack by attack) with a 95 % interval over seeds. Nobody types a verdict: it is
computed here, from the records of the claim's study.
"""

import math
from dataclasses import dataclass

import pandas as pd

from bdlib.claims.schema import Claim
from bdlib.claims.values import claim_values
from bdlib.evaluation.intervals import seed_interval
from bdlib.experiments import studies

VERDICTS = ("reproduced", "partly", "not reproduced", "not run")  # from best to worst


@dataclass(frozen=True)
class Group:
    """One group of a claim: mean over seeds, 95 % interval (nan for one seed), number of seeds, yes/leaning/no."""

    name: str
    mean: float
    low: float
    high: float
    seeds: int
    verdict: str

    def text(self, claim: Claim) -> str:
        """Name, mean and interval, in the claim's unit."""
        if math.isnan(self.mean):
            return f"{self.name} undefined"
        interval = f"[{claim.text(self.low)}, {claim.text(self.high)}]" if self.seeds > 1 else "(one seed)"
        return f"{self.name} {claim.text(self.mean)} {interval}"


@dataclass(frozen=True)
class Judgment:
    """A claim at one scale."""

    claim: Claim
    verdict: str
    groups: tuple[Group, ...] = ()

    @property
    def measured(self) -> list[str]:
        """A piece of text for each group: name, mean, interval; and its own verdict where the groups differ."""
        mixed = self.verdict == "partly" and len(self.groups) > 1
        return [one.text(self.claim) + (f" ({one.verdict})" if mixed else "") for one in self.groups]


def judge(claim: Claim, scale: str) -> Judgment:
    """The claim's verdict at a scale, from the records there are. Raises ClaimError."""
    if scale not in claim.scales:
        return Judgment(claim, "not run")
    runs = studies.load_study(claim.paper, scale, claim.study)
    if claim.other and claim.other.method == studies.SHARED_CONTROL:
        runs = studies.with_shared_control(runs, scale)
    return judge_runs(claim, runs)


def judge_runs(claim: Claim, runs: pd.DataFrame) -> Judgment:
    """As `judge`, from the runs of a study as `bdlib.experiments.studies.load_study` gives them."""
    by_group = claim_values(claim, runs).groupby(level=0, sort=False)
    groups = tuple(_group(claim, str(name), part.tolist()) for name, part in by_group)
    answers = {group.verdict for group in groups}
    if len(answers) == 1:
        verdict = {"yes": "reproduced", "leaning": "partly", "no": "not reproduced"}[answers.pop()]
    else:
        verdict = "partly" if answers else "not run"
    return Judgment(claim, verdict, groups)


def _group(claim: Claim, name: str, by_seed: list[float]) -> Group:
    """Yes if the whole interval keeps to the bound, leaning if only the mean does or there is one seed, else no.

    Where a seed has divided by zero there is no mean, and the answer is no.
    """
    mean, low, high = sum(by_seed) / len(by_seed), math.nan, math.nan
    if not math.isfinite(mean):
        mean = math.nan
    elif len(by_seed) > 1:
        mean, low, high = seed_interval(by_seed)
        if claim.is_share:  # Student's interval does not know that shares end at zero and one
            low, high = max(low, 0.0), min(high, 1.0)
    verdict = "yes" if _keeps(claim, low) and _keeps(claim, high) else "leaning" if _keeps(claim, mean) else "no"
    return Group(name, mean, low, high, len(by_seed), verdict)


def _keeps(claim: Claim, value: float) -> bool:
    """Whether a value is on the right side, the tolerance granted; false for one that is not a number."""
    side, number = claim.bound
    if side == "equal":
        return abs(value - number) <= claim.tolerance + 1e-12
    return value < number + claim.tolerance if side == "below" else value > number - claim.tolerance
