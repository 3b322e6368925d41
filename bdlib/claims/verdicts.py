"""What the papers claim, and what the records say to each claim: reproduced, partly, not reproduced or not run.

book/claims.yaml holds the claims; its head explains the format. Each is an expression over the records of one study,
judged group by group (attack by attack) with a 95 % interval over seeds. Nobody types a verdict: it is computed here.

    python -m bdlib.claims                 # every claim with its verdict; fails if one is worse than the accepted one
    python -m bdlib.claims --accept        # take today's verdicts as the accepted ones
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib import runtime
from bdlib.claims.schema import PROFILES, Claim, ClaimError, check, load, values
from bdlib.evaluation.intervals import seed_interval
from bdlib.experiments import studies

VERDICTS = ("reproduced", "partly", "not reproduced", "not run")  # from best to worst
NOT_ASKED = "not asked"  # at this profile


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
        between = f"[{claim.shown(self.low)}, {claim.shown(self.high)}]" if self.seeds > 1 else "(one seed)"
        return f"{self.name} {claim.shown(self.mean)} {between}"


@dataclass(frozen=True)
class Judgment:
    """A claim at one profile."""

    claim: Claim
    profile: str
    verdict: str
    groups: tuple[Group, ...] = ()

    @property
    def measured(self) -> list[str]:
        """A piece of text for each group: name, mean, interval; and its own verdict where the groups differ."""
        mixed = self.verdict == "partly" and len(self.groups) > 1
        return [one.text(self.claim) + (f" ({one.verdict})" if mixed else "") for one in self.groups]


def judge(claim: Claim, profile: str) -> Judgment:
    """The claim's verdict at a profile, from the records there are."""
    if profile not in claim.profiles:
        return Judgment(claim, profile, "not run")
    return over_runs(claim, profile, studies.load_study(claim.paper, profile, claim.study))


def over_runs(claim: Claim, profile: str, runs: pd.DataFrame) -> Judgment:
    """As `judge`, from given runs."""
    by_seed = values(claim, runs)
    groups = tuple(group(claim, str(name), part.tolist()) for name, part in by_seed.groupby(level=0, sort=False))
    said = {one.verdict for one in groups}
    if not said:
        verdict = "not run"
    elif said == {"yes"}:
        verdict = "reproduced"
    else:
        verdict = "not reproduced" if said == {"no"} else "partly"
    return Judgment(claim, profile, verdict, groups)


def group(claim: Claim, name: str, by_seed: list[float]) -> Group:
    """Yes if the whole interval keeps to the bound, leaning if only the mean does or there is one seed, else no.

    Where a seed has divided by zero there is no mean, and the answer is no.
    """
    mean, low, high = sum(by_seed) / len(by_seed), math.nan, math.nan
    if not math.isfinite(mean):
        mean = math.nan
    elif len(by_seed) > 1:
        mean, low, high = (float(number) for number in seed_interval(by_seed))
        if claim.is_share:  # whatever Student's interval says
            low, high = max(low, 0.0), min(high, 1.0)
    verdict = "yes" if keeps(claim, low) and keeps(claim, high) else "leaning" if keeps(claim, mean) else "no"
    return Group(name, mean, low, high, len(by_seed), verdict)


def keeps(claim: Claim, value: float) -> bool:
    """Whether a value is on the right side, the tolerance granted; false for one that is not a number."""
    side, number = claim.bound
    if side == "equal":
        return abs(value - number) <= claim.tolerance + 1e-12
    return value < number + claim.tolerance if side == "below" else value > number - claim.tolerance


def table(claims: list[Claim]) -> pd.DataFrame:
    """A row a claim, as text: what it says and where, verdict at each profile, what was expected and measured.

    The column of what was measured at a profile is there only where something was.
    """
    rows = []
    for claim in claims:
        found = {profile: judge(claim, profile) for profile in PROFILES}
        row = {"paper": claim.paper, "claim": claim.statement, "where": claim.source}
        row |= {f"verdict, {p}": found[p].verdict if p in claim.profiles else NOT_ASKED for p in PROFILES}
        row |= {"expected": claim.expectation}
        row |= {f"measured, {p}": "\n".join(found[p].measured) for p in PROFILES}
        rows.append(row)
    verdict, measured = ([f"{what}, {p}" for p in PROFILES] for what in ("verdict", "measured"))
    shown = pd.DataFrame(rows, columns=["paper", "claim", "where", *verdict, "expected", *measured])
    return shown.drop(columns=[name for name in measured if not shown[name].any()])


def verdicts(paper: str) -> Any:
    """The claims of one paper and what became of them, to be shown at the head of its chapter."""
    found = table([claim for claim in load() if claim.paper == paper]).drop(columns="paper")
    if found.empty:
        found.loc[0] = [f"No claim of {paper} has been written down yet.", *[""] * (len(found.columns) - 1)]
    return styled(found, paper)


def styled(found: pd.DataFrame, name: str) -> Any:
    """A table of claims as a page shows it: nothing cut off, the place in the paper under each claim, a line a group.

    `name` tells it from the other tables of a page.
    """
    together = [
        f"{text}\n({place})" if place else text for text, place in zip(found["claim"], found["where"], strict=True)
    ]
    shown = found.assign(claim=together).drop(columns="where").style.hide(axis="index").format(escape="html")
    layout = {"text-align": "left", "vertical-align": "top", "font-size": "0.8em", "padding": "0.3em 0.5em"}
    shown = shown.set_uuid(f"verdicts-{name}").set_properties(**layout, **{"white-space": "pre-line"})
    shown = shown.set_properties(subset=["claim"], **{"min-width": "14em"})
    whole = [column for column in found if column.startswith(("measured", "verdict"))]
    return shown.set_properties(subset=whole, **{"white-space": "pre"}).set_table_attributes('class="table dataframe"')


def scoreboard(profile: str) -> pd.DataFrame:
    """Every claim at one profile: paper, id, statement, source, expected, measured, verdict."""
    judged = [judge(claim, profile) for claim in load() if profile in claim.profiles]
    rows = [
        (one.claim.paper, one.claim.id, one.claim.statement, one.claim.source, one.claim.expectation,
         "; ".join(one.measured), one.verdict)
        for one in judged
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["paper", "id", "statement", "source", "expected", "measured", "verdict"])


def counts(found: pd.DataFrame, profile: str) -> pd.DataFrame:
    """How many claims of each paper came to each verdict at a profile, out of what `table` gives."""
    asked = found[found[f"verdict, {profile}"] != NOT_ASKED]
    kinds = pd.crosstab(asked["paper"], asked[f"verdict, {profile}"])
    return kinds.reindex(index=list(dict.fromkeys(found["paper"])), columns=list(VERDICTS), fill_value=0)


def accepted(profile: str) -> dict[str, str]:
    """The committed verdicts, by claim."""
    path = runtime.RESULTS / profile / "verdicts.csv"
    return dict(pd.read_csv(path).itertuples(index=False, name=None)) if path.is_file() else {}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What got worse, or vanished, and what got better, or is new, since `before`; a line each."""
    worse, better = [], []
    for name in sorted({*before, *now}):
        was, is_now = before.get(name), now.get(name)
        if was is None:
            better.append(f"{name}: new, {is_now}")
        elif is_now is None:
            worse.append(f"{name}: was {was}, has vanished")
        elif was != is_now:
            lost = VERDICTS.index(is_now) > VERDICTS.index(was)
            (worse if lost else better).append(f"{name}: was {was}, is {is_now}")
    return worse, better


def accept(profile: str, now: Mapping[str, str]) -> Path:
    """Write today's verdicts as those that later ones are held against."""
    lines = pd.DataFrame(sorted(now.items()), columns=["id", "verdict"]).to_csv(index=False)
    return runtime.write_whole(runtime.RESULTS / profile / "verdicts.csv", lines.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, action="append", help="default: both")
    parser.add_argument("--accept", action="store_true", help="write results/<profile>/verdicts.csv")
    options = parser.parse_args()
    fallen: list[str] = []
    try:
        for claim in load():
            check(claim)
        for profile in options.profile or PROFILES:
            fallen += report(profile, accept_now=options.accept)
    except ClaimError as error:
        parser.exit(2, f"ClaimError: {error}\n")
    if fallen:
        parser.exit(1, "\n".join([f"{len(fallen)} verdicts are worse than the accepted ones:", *fallen, ""]))


def report(profile: str, *, accept_now: bool) -> list[str]:
    """Print every claim of a profile; returns what is worse than accepted, nothing once it is accepted."""
    board = scoreboard(profile)
    now = dict(zip(board["id"], board["verdict"], strict=True))
    for row in board.itertuples():
        print(f"{profile:6}{row.verdict:16}{row.id}: {row.measured or 'no record'}; expected {row.expected}")
    worse, better = changes(accepted(profile), now)
    if accept_now and (accepted(profile) or set(now.values()) - {"not run"}):
        print(f"{profile}: {len(now)} verdicts accepted in {accept(profile, now).name}")
        return []
    if better and set(now.values()) - {"not run"}:
        print("\n".join([f"{profile}: better or new; `python -m bdlib.claims --accept` accepts:", *better]))
    return [f"{profile}: {line}" for line in worse]


if __name__ == "__main__":
    main()
