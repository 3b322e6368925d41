"""What an entry of book/claims.yaml may be.

A fault in an entry is one line: the claim, the key, its value, and what is allowed.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, Field, ValidationError

from bdlib.claims.reading import Comparison, Condition, Reading, Text
from bdlib.experiments import notebooks
from bdlib.folders import ROOT

FILE = ROOT / "book" / "claims.yaml"
Scale: TypeAlias = Literal["paper", "quick"]
SCALES: tuple[Scale, ...] = get_args(
    Scale
)  # from the largest to the smallest: tables and verdicts begin with the largest
CONDITIONS = ("premise", "floor")
Changes: TypeAlias = dict[str, Any] | None
CONDITION = "a mapping of expected and, where they differ from the claim's, metric, method, where, versus and how"


class ClaimError(ValueError):
    """A claim that cannot be read or judged; says which, and what is wrong with it, in one line."""

    def _render_traceback_(self) -> list[str]:
        return [f"ClaimError: {self}"]


class Claim(Comparison, frozen=True):
    """One entry of book/claims.yaml; the head of that file explains the keys."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", description="small letters, digits, - and _")]
    paper: Text
    source: Text
    statement: Text
    study: Text = "headline"
    each: Text = "attack"  # the parameter whose values are the groups
    premise: Changes = Field(None, description=f"{CONDITION}, and reason")
    floor: Changes = Field(None, description=CONDITION)
    scales: tuple[Scale, ...] = Field(
        SCALES, strict=False, min_length=1, description=f"a list of {' and '.join(SCALES)}"
    )

    def condition(self, key: str) -> Condition | None:
        """The claim's `premise` or `floor`. What it does not say is as in the claim, of the defended model.

        A floor is about acc unless it says otherwise.
        """
        changes = getattr(self, key)
        if changes is None:
            return None
        defended = self.other if self.method == "victim" and self.other else self
        own = {name: getattr(defended, name) for name in Reading.model_fields}
        own |= {"how": "difference" if "versus" in changes else "value"} | ({"metric": "acc"} if key == "floor" else {})
        return Condition.model_validate(own | changes)


def load_claims(path: Path = FILE) -> list[Claim]:
    """The claims in the order of the file. Raises ClaimError for the first entry with a fault in it."""
    if not path.exists():
        raise ClaimError(f"{path}: it is missing")
    entries = notebooks.read_yaml(path) or []
    if not isinstance(entries, list):
        raise ClaimError(f"{path}: must be a list of claims")
    claims: dict[str, Claim] = {}
    for entry in entries:
        try:
            claim = read_claim(entry)
            if claim.id in claims:
                raise ClaimError(f"{claim.id}: id: another claim has it too")
        except ClaimError as error:
            raise ClaimError(f"{path.name}: {error}") from None
        claims[claim.id] = claim
    return list(claims.values())


def read_claim(entry: Any) -> Claim:
    """One entry, every key checked. Raises ClaimError. Whether runs can answer it, `check_claim` tells."""
    if not isinstance(entry, dict) or "id" not in entry:
        raise ClaimError(f"{str(entry)[:60]}: id: missing")
    try:
        claim = Claim.model_validate(entry)
    except ValidationError as error:
        raise ClaimError(f"{entry['id']}: {_fault(error, Claim, entry)}") from None
    _check_versus(claim, claim.id)
    for key in CONDITIONS:
        _check_condition(claim, key)
    if claim.each == "seed":
        raise ClaimError(f"{claim.id}: each: 'seed' must be another parameter: intervals run over seeds")
    if claim.paper not in notebooks.papers():
        raise ClaimError(f"{claim.id}: paper: no notebook {claim.paper}; there are {', '.join(notebooks.papers())}")
    studies = sorted({name for scale in claim.scales for name in notebooks.studies(claim.paper, scale)})
    if claim.study not in studies:
        raise ClaimError(f"{claim.id}: study: {claim.paper} has no {claim.study}; there are {', '.join(studies)}")
    return claim


def _check_versus(comparison: Comparison, place: str) -> None:
    """Raises ClaimError for a `versus` that is no reading, or that does not go with `how`."""
    try:
        other = comparison.other
    except ValidationError as error:
        raise ClaimError(f"{place}: versus: {_fault(error, Reading, comparison.versus)}") from None
    if (other is None) != (comparison.how == "value"):
        allowed = "value without versus" if other is None else "difference, ratio or correlation with versus"
        raise ClaimError(f"{place}: how: {comparison.how!r} must be {allowed}")


def _check_condition(claim: Claim, key: str) -> None:
    """Raises ClaimError for a premise or a floor that cannot be read."""
    try:
        condition = claim.condition(key)
    except ValidationError as error:
        raise ClaimError(f"{claim.id}: {key}: {_fault(error, Condition, getattr(claim, key))}") from None
    if condition is not None:
        _check_versus(condition, f"{claim.id}: {key}")
    if key == "premise" and condition is not None and condition.reason is None:
        raise ClaimError(f"{claim.id}: premise: reason: missing")


def _fault(error: ValidationError, model: type[BaseModel], entry: Any) -> str:
    """The first fault of an entry: its key, its value, and what is allowed."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    if key not in model.model_fields:
        return f"{key}: no such key; there are {', '.join(model.model_fields)}"
    if first["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {entry[key]!r} must be {model.model_fields[key].description}"
