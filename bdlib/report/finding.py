"""The finding of a chapter in one sentence: what the records say to the claim that leads it, and to all of them."""

from collections import Counter

import pandas as pd

from bdlib import claims
from bdlib.checks import ParameterError
from bdlib.claims.schema import Claim
from bdlib.claims.verdicts import Group, Judgment
from bdlib.experiments import studies
from bdlib.report.tables import percent
from bdlib.words import listed, shown

PLACES = {"paper": "at the papers' scale", "cifar": "at CIFAR-10", "quick": "at the quick scale"}
WORKS = 0.9  # the ASR from which an attack is called successful
ANSWERS = {"yes": "holds for", "no": "fails for", "undecided": "is open for", "not testable": "cannot be tested for"}


def finding(paper: str, lead: str, says: str) -> str:
    """What the largest scale that was run says to the claim `lead`, group by group, and the verdicts of all claims.

    `says` is that claim, to follow "the paper claims that", for a reader who does not know the paper yet. The
    numbers are means over seeds. Raises ParameterError where `lead` is no claim of `paper`.

    Example: ``finding("nad", "nad-asr", "NAD leaves little of a backdoor")``
    """
    own = [claim for claim in claims.load_claims() if claim.paper == paper]
    judged = {claim.id: claims.largest_judgment(claim) for claim in own}
    if lead not in judged:
        raise ParameterError(f"lead={shown(lead)}: must be one of {', '.join(judged)}")
    judgment, scale = judged[lead]
    counts = Counter(one.verdict for one, _ in judged.values())
    counted = ", ".join(f"{counts[verdict]} {verdict}" for verdict in claims.VERDICTS if counts[verdict])
    total = f"The verdicts on the {len(own)} claims of this page are: {counted}."
    if judgment.verdict == "not run":
        return f"**The paper claims that {says}; no record answers this yet.** {total}"
    said = f"**The paper claims that {says}; {PLACES[scale]} this {_answers(judgment)}.**"
    text = f"{said} Expected: {judgment.claim.expectation}."
    small = claims.judge(judgment.claim, "quick")
    if scale != "quick" and small.verdict != "not run":
        text += f" In the small setting that this page runs (quick) it {_answers(small)}."
    return f"{text} {total}"


def suite_finding() -> str:
    """How many attacks of the gallery work at their usual poison rate, at the largest scale and at the quick one.

    An attack works here if its mean ASR over seeds is at least 90 %. The page's tables are those of the quick scale.

    Example: ``suite_finding()``
    """
    found = {scale: runs for scale, runs in studies.at_all_scales("attacks", "suite").items() if len(runs)}
    if not found:
        return "**No record says yet how well the attacks work.**"
    largest = next(iter(found))
    where = PLACES[largest][0].upper() + PLACES[largest][1:]
    text = f"**{where}, {_working(found[largest])} at their usual poison rate{_weak(found[largest])}.**"
    if "quick" in found and largest != "quick":
        text += f" In the small setting that this page runs (quick), {_working(found['quick'])}{_weak(found['quick'])}."
    return text


def _working(suite: pd.DataFrame) -> str:
    """How many of the attacks in `suite` work."""
    means = suite.groupby("attack")["asr_before"].mean()
    return f"{(means >= WORKS).sum()} of {len(means)} attacks reach a mean ASR of at least {100 * WORKS:.0f} %"


def _weak(suite: pd.DataFrame) -> str:
    """The attacks in `suite` that do not work, the weakest first, to follow a sentence; empty where all do."""
    means = suite.groupby("attack")["asr_before"].mean().sort_values()
    weak = [f"{name.replace('_', '-')} ({percent(share)} %)" for name, share in means.items() if share < WORKS]
    return f"; below it: {listed(weak)}" if weak else ""


def _answers(judgment: Judgment) -> str:
    """For which groups a claim holds, fails and is open, with their means."""
    parts = []
    for answer, words in ANSWERS.items():
        groups = [_named(judgment.claim, group) for group in judgment.groups if group.answer == answer]
        if groups:
            parts.append(f"{words} {listed(groups)}")
    return listed(parts)


def _named(claim: Claim, group: Group) -> str:
    """A group with its mean, such as "blended (1.4 %, one seed)"."""
    unit = (" %" if claim.is_share else " points") if claim.factor == 100 else ""
    seeds = ", one seed" if group.seeds == 1 else ""
    kind = "" if claim.each in ("attack", "table") else f"{claim.each.replace('_', ' ')} "
    return f"{kind}{group.name.replace('_', '-')} ({claim.text(group.mean)}{unit}{seeds})"
