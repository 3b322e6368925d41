"""book/claims.yaml, the ledger of what the papers claim: read, and every entry checked in one line that names it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib.claims.expressions import ExpressionError, evaluate, measures, parse
from bdlib.experiments import notebooks
from bdlib.experiments.parameters import is_number
from bdlib.experiments.records import no_runs
from bdlib.runtime import ROOT

FILE = ROOT / "book" / "claims.yaml"
PROFILES = ("quick", "paper")
TEXT = (lambda value: isinstance(value, str) and bool(value.strip()), "text")
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("paper", "source", "statement", "study", "quantity"), TEXT),
    "id": (lambda value: bool(re.fullmatch(r"[a-z0-9_-]+", str(value))), "small letters, digits, - and _"),
    "expected": (lambda value: bool(re.fullmatch(r"(below|above|equal) -?\d+(\.\d+)?(e-?\d+)?", str(value))),
                 "below, above or equal, a blank, and a number"),
    "each": (lambda value: isinstance(value, str) and value != "seed", "a column, not seed: intervals run over seeds"),
    "tolerance": (lambda value: is_number(value) and value >= 0, "a number from 0"),
    "unit": (lambda value: value in ("points", "number"), "points or number"),
    "profiles": (lambda value: value in (["quick"], ["paper"], [*PROFILES]), "[quick], [paper] or [quick, paper]"),
}  # fmt: skip


class ClaimError(ValueError):
    """A claim that cannot be read or judged; says which, and what is wrong with it, in one line."""

    def _render_traceback_(self) -> list[str]:
        return [f"ClaimError: {self}"]


@dataclass(frozen=True)
class Claim:
    """One entry of book/claims.yaml."""

    id: str
    paper: str
    source: str  # where the paper says it
    statement: str  # what it says, in our words
    quantity: str  # an expression that gives a number for each group and seed
    expected: str  # below x, above x or equal x
    study: str = "headline"
    each: str = "attack"  # the column whose values are the groups
    tolerance: float = 0.0  # how far off still counts
    unit: str = ""  # points: shown times a hundred; number: as it is; empty: points for plain sums of acc, asr and ra
    profiles: tuple[str, ...] = PROFILES

    @property
    def bound(self) -> tuple[str, float]:
        side, number = self.expected.split()
        return side, float(number)

    @property
    def is_share(self) -> bool:
        """Whether the quantity is one score, and so lies between zero and one."""
        return bool(re.fullmatch(r"(acc|asr|ra)\([^()]*\)", self.quantity.strip()))

    @property
    def scale(self) -> float:
        """What a value is multiplied by when shown."""
        other = re.search(r"/|\b(der|seconds|measured)\b", self.quantity)
        return 1.0 if self.unit == "number" or (not self.unit and other) else 100.0

    def shown(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.scale == 100 else f"{value:.3g}"

    @property
    def expectation(self) -> str:
        """The bound and its tolerance as a reader sees them."""
        side, number = self.bound
        sign = (" %" if self.is_share else " points") if self.scale == 100 else ""
        slack = f" (tolerance {self.scale * self.tolerance:g})" if self.tolerance else ""
        return f"{side} {self.scale * number:g}{sign}{slack}"


def load(path: Path = FILE) -> list[Claim]:
    """The claims in the order of the file. Raises ClaimError for the first entry with a fault in it."""
    claims: list[Claim] = []
    for entry in notebooks.read_yaml(path) or []:
        claim = read(entry)
        if claim.id in {other.id for other in claims}:
            raise ClaimError(f"{claim.id}: id: another claim has it too")
        claims.append(claim)
    return claims


def read(entry: Any) -> Claim:
    """One entry, every field checked; whether runs answer it, `check` tells."""
    if not isinstance(entry, dict) or "id" not in entry:
        raise ClaimError(f"{str(entry)[:60]}: id: missing")
    known, needed = [field.name for field in fields(Claim)], ("paper", "source", "statement", "quantity", "expected")
    for key in entry:
        if key not in known:
            raise ClaimError(f"{entry['id']}: {key}: no such key; there are {', '.join(known)}")
    for key in needed:
        if key not in entry:
            raise ClaimError(f"{entry['id']}: {key}: missing")
    for key, (right, allowed) in RULES.items():
        if key in entry and not right(entry[key]):
            raise ClaimError(f"{entry['id']}: {key}: {entry[key]!r} must be {allowed}")
    claim = Claim(**{**entry, "profiles": tuple(entry.get("profiles", PROFILES))})
    if claim.paper not in notebooks.papers():
        raise ClaimError(f"{claim.id}: paper: no notebook {claim.paper}; there are {', '.join(notebooks.papers())}")
    studies = sorted({name for profile in claim.profiles for name in notebooks.studies(claim.paper, profile)})
    if claim.study not in studies:
        raise ClaimError(f"{claim.id}: study: {claim.paper} has no {claim.study}; there are {', '.join(studies)}")
    try:
        parse(claim.quantity)
    except ExpressionError as error:
        raise ClaimError(f"{claim.id}: quantity: {error}") from None
    return claim


def check(claim: Claim) -> None:
    """Raises ClaimError unless some of the study's runs, once they are all there, will answer the claim."""
    studies = [planned(claim, profile) for profile in claim.profiles]
    if not any(len(values(claim, runs)) for runs in studies):
        methods = ", ".join(dict.fromkeys(method for runs in studies for method in runs["method"]))
        raise ClaimError(f"{claim.id}: quantity: no run of study {claim.study} answers it; its methods are {methods}")


def planned(claim: Claim, profile: str) -> pd.DataFrame:
    """The study as it will be once all its runs are there, every score and measure being one."""
    points = notebooks.study(claim.paper, profile, claim.study)
    rows = [{name: tuple(value) if isinstance(value, list) else value for name, value in point.items()}
            for _, point in points]  # fmt: skip
    columns = [*no_runs(notebooks.parameters(claim.paper, profile)).columns, *dict.fromkeys(measures(claim.quantity))]
    scored = pd.DataFrame(rows, columns=columns).drop(columns="record").fillna(1.0)
    return scored.assign(method=[method for method, _ in points])


def values(claim: Claim, runs: pd.DataFrame) -> pd.Series:
    """The claim's quantity for each group and seed."""
    try:
        return evaluate(claim.quantity, runs, claim.each)
    except ExpressionError as error:
        raise ClaimError(f"{claim.id}: quantity: {error}") from None
