"""The finding of a chapter in one sentence: what the records say to the claim that leads it, and to all of them.

A page without claims of its own has a sentence of its own here, computed from its records.
"""

import pandas as pd

from bdlib import claims
from bdlib.checks import ParameterError
from bdlib.claims.schema import Claim
from bdlib.claims.verdicts import Group, Judgment
from bdlib.evaluation.metrics import WORKS
from bdlib.experiments import studies
from bdlib.experiments.names import attack_name, group_name, method_name
from bdlib.report import comparison, ranking, workshop
from bdlib.report.tables import counted, percent
from bdlib.words import listed, shown

PLACES = {"paper": "at the papers' scale", "cifar": "at CIFAR-10", "quick": "at the quick scale"}
CONTROL = method_name("fine_tune")
FIRST = 3  # so many repairs are named
WITHOUT_TRIGGER = ("lipschitz", "landscape", "curvature")  # tools of the workshop that a defender could use
ANSWERS = {"yes": "holds for", "no": "fails for", "undecided": "is open for", "not testable": "cannot be tested for"}


@studies.reading_once()
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
    verdicts = claims.counted_verdicts(one.verdict for one, _ in judged.values())
    total = f"This page judges {counted(len(own), 'claim')}, each at the largest scale that was run: {verdicts}."
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
    text = f"**{_where(largest)}, {_working(found[largest])} at their usual poison rate{_weak(found[largest])}.**"
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
    weak = [f"{attack_name(name)} ({percent(share)} %)" for name, share in means.items() if share < WORKS]
    return f"; below it: {listed(weak)}" if weak else ""


def repairs_finding() -> str:
    """Which repairs of the comparison leave the least ASR in the worst case, and what they cost.

    Of the largest scale that was run, and of the quick one. A worst case is the attack of which a repair leaves most.
    The control, fine-tuning, is named beside them, with what the paired test says of it and the first.

    Example: ``repairs_finding()``
    """
    found = {scale: comparison.repairs(scale) for scale in PLACES}
    found = {scale: runs for scale, runs in found.items() if len(comparison.worst_cases(runs))}
    if not found:
        return "**No record says yet what the repairs leave in the worst case.**"
    scale, runs = next(iter(found.items()))
    meant = "A worst case is the highest mean ASR among these attacks; ACC is lost on the victims, as a mean over them."
    text = f"**{_where(scale)}, {_least_left(runs)}.** {meant}{_beside_control(runs)}"
    if scale != "quick" and "quick" in found:
        text += f" In the small setting that this page runs (quick), {_least_left(found['quick'])}."
        text += _beside_control(found["quick"])
    return text


def _least_left(runs: pd.DataFrame) -> str:
    """The repairs with the lowest worst cases, such as "NAD (2.0 % on badnets, for 1.0 points of ACC)"."""
    table = comparison.worst_cases(runs)
    first = listed([f"{name} ({_worst_case(table, name)})" for name in table.index[:FIRST]])
    seeds = {*runs.groupby(["method", "attack"])["seed"].nunique()}
    over = f"{min(seeds)} to {max(seeds)} seeds" if len(seeds) > 1 else counted(max(seeds), "seed")
    attacks = counted(runs["attack"].nunique(), "attack")
    ranked = counted(len(table), "repair")
    return (
        f"the least ASR in the worst case is left by {first}, of {ranked} on the same victims ({attacks}, {over} each)"
    )


def _worst_case(table: pd.DataFrame, name: str) -> str:
    row = table.loc[name]
    seed = ", one seed" if row["seeds"] == 1 else ""
    return f"{percent(row['asr'])} % on {attack_name(row['attack'])}{seed}, for {percent(row['cost'])} points of ACC"


def _beside_control(runs: pd.DataFrame) -> str:
    """Whether the first repair is shown to leave less than the control, and who is not ranked."""
    table = comparison.worst_cases(runs)
    text, first = "", table.index[0]
    if CONTROL in table.index and first != CONTROL:
        pairs = ranking.separations(runs, "asr")
        both = pairs[pairs[["better", "worse"]].isin([first, CONTROL]).all(axis=1)]
        sure = both["separate"].astype(bool) & (both["better"] == first)
        control = CONTROL if CONTROL in table.index[:FIRST] else f"{CONTROL} ({_worst_case(table, CONTROL)})"
        text += f" The paired test of section 7 shows {first} to leave less than the control, {control}, "
        text += f"on {sure.sum()} of {counted(len(both), 'attack')} that can be paired over seeds."
    absent = [name for name in dict.fromkeys(runs["method"]) if name not in table.index]
    return f"{text} Not ranked, because an attack is missing: {listed(absent)}." if absent else text


def tools_finding() -> str:
    """Which tools of the workshop tell each victim from its clean twin, at the largest scale that was run.

    Example: ``tools_finding()``
    """
    found = ((scale, runs) for scale, runs in studies.at_all_scales("workshop").items() if len(runs))
    scale, runs = next(found, ("quick", pd.DataFrame()))
    if runs.empty:
        return "**No record says yet which tools tell a victim from its clean twin.**"
    always, never = workshop.always_and_never(runs)
    told = f"{len(always)} of {len(workshop.TOOLS)} tools tell the victim from its clean twin in every run"
    in_all = f": {listed(always)}" if always else ""
    in_none = f" In no run do so: {listed(never)}." if never else ""
    attacks = [attack_name(name) for name in dict.fromkeys(runs["attack"])]
    told_apart = {workshop.TOOLS[key].name: workshop.tells_apart(runs, key) for key in WITHOUT_TRIGGER}
    alone = listed([f"{name} in {sum(seen)} of {len(seen)}" for name, seen in told_apart.items()])
    about = f"The sentence counts {counted(len(runs), 'run')}, of {listed(attacks)}."
    return (
        f"**{_where(scale)}, {told}{in_all}.**{in_none} {about} Tools that need no trigger see a difference: {alone}."
    )


def _where(scale: str) -> str:
    """The scale as the beginning of a sentence, such as "At CIFAR-10"."""
    return PLACES[scale][0].upper() + PLACES[scale][1:]


def _answers(judgment: Judgment) -> str:
    """For which groups a claim holds, fails and is open, with their means."""
    parts = []
    for answer, words in ANSWERS.items():
        groups = [_named(judgment.claim, group) for group in judgment.groups if group.answer == answer]
        if groups:
            premise = judgment.claim.condition("premise") if answer == "not testable" else None
            why = f" (premise not met: {premise.reason.rstrip('.')})" if premise and premise.reason else ""
            parts.append(f"{words} {listed(groups)}{why}")
    return listed(parts)


def _named(claim: Claim, group: Group) -> str:
    """A group with its mean, such as "Blended (1.4 %, one seed)", or its name alone where it cannot be tested."""
    unit = (" %" if claim.is_share else " points") if claim.factor == 100 else ""
    seeds = ", one seed" if group.seeds == 1 else ""
    name = group_name(claim.each, group.name)
    if not group.seeds:
        return f"{name} (not run)"
    return name if group.answer == "not testable" else f"{name} ({claim.text(group.mean)}{unit}{seeds})"
