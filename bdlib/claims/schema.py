"""What an entry of book/claims.yaml may be.

A fault in an entry is one line: the claim, the key, its value, and what is allowed.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, Field, ValidationError

from bdlib.experiments import notebooks
from bdlib.folders import ROOT
from bdlib.words import OneLineError

FILE = ROOT / "book" / "claims.yaml"
Scale: TypeAlias = Literal["quick", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
SHARES = ("acc", "asr", "ra")  # the metrics that are fractions of the test images
Text: TypeAlias = Annotated[str, Field(pattern=r"\S", description="text")]
Setting: TypeAlias = bool | int | float | str | list[int | float | str]


class ClaimError(OneLineError, ValueError):
    """A claim that cannot be read or judged; says which, and what is wrong with it, in one line."""


class Reading(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What is read from the records of a study: one metric of one method, for every run or for some."""

    metric: Text  # acc, asr, ra, der, seconds, or a name under `measured` in the records
    method: Text  # what the study calls it; "victim" for the model before the defense
    where: dict[str, Setting] = Field({}, description="parameters and their values, such as {rho: 2.0}")

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.where.items())
        return f"{self.metric} of {self.method}" + (f" where {chosen}" if chosen else "")


class Claim(Reading, frozen=True):
    """One entry of book/claims.yaml; the head of that file explains the keys."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", description="small letters, digits, - and _")]
    paper: Text
    source: Text
    statement: Text
    expected: Annotated[str, Field(pattern=r"^(below|above|equal) -?\d+(\.\d+)?(e-?\d+)?$",
                                   description="below, above or equal, a blank, and a number")]  # fmt: skip
    study: Text = "headline"
    versus: Text | dict[str, Any] | None = Field(None, description="a method, or a mapping of metric, method and where")
    how: Literal["value", "difference", "ratio"] = Field("value", description="value, difference or ratio")
    each: Text = "attack"  # the parameter whose values are the groups
    tolerance: float = Field(0.0, ge=0, allow_inf_nan=False, description="a number from 0")
    unit: Literal["points", "number"] | None = Field(None, description="points or number")
    scales: tuple[Scale, ...] = Field(SCALES, strict=False, min_length=1, description="a list of quick and paper")

    @property
    def other(self) -> Reading | None:
        """What the claim's own reading is compared with: the same metric, method and runs, but for `versus`."""
        if self.versus is None:
            return None
        changes = {"method": self.versus} if isinstance(self.versus, str) else self.versus
        return Reading.model_validate({name: getattr(self, name) for name in Reading.model_fields} | changes)

    @property
    def bound(self) -> tuple[str, float]:
        """Below, above or equal; and the number."""
        side, number = self.expected.split()
        return side, float(number)

    @property
    def is_share(self) -> bool:
        """Whether the claim is about one share of images, and so about a number between zero and one."""
        return self.how == "value" and self.metric in SHARES

    @property
    def factor(self) -> float:
        """What a value is multiplied by when shown: 100 for points, 1 for plain numbers."""
        metrics = {reading.metric for reading in (self, self.other) if reading}
        points = self.unit == "points" or (self.unit is None and self.how != "ratio" and metrics <= {*SHARES})
        return 100.0 if points else 1.0

    def text(self, value: float) -> str:
        """A value in the claim's unit."""
        return f"{100 * value:.1f}" if self.factor == 100 else f"{value:.3g}"

    @property
    def expectation(self) -> str:
        """The bound and its tolerance as a reader sees them."""
        side, number = self.bound
        sign = (" %" if self.is_share else " points") if self.factor == 100 else ""
        slack = f" (tolerance {self.factor * self.tolerance:g})" if self.tolerance else ""
        return f"{side} {self.factor * number:g}{sign}{slack}"


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
    try:
        other = claim.other
    except ValidationError as error:
        raise ClaimError(f"{claim.id}: versus: {_fault(error, Reading, entry['versus'])}") from None
    if (other is None) != (claim.how == "value"):
        allowed = "value without versus" if other is None else "difference or ratio with versus"
        raise ClaimError(f"{claim.id}: how: {claim.how!r} must be {allowed}")
    if claim.each == "seed":
        raise ClaimError(f"{claim.id}: each: 'seed' must be another parameter: intervals run over seeds")
    if claim.paper not in notebooks.papers():
        raise ClaimError(f"{claim.id}: paper: no notebook {claim.paper}; there are {', '.join(notebooks.papers())}")
    studies = sorted({name for scale in claim.scales for name in notebooks.studies(claim.paper, scale)})
    if claim.study not in studies:
        raise ClaimError(f"{claim.id}: study: {claim.paper} has no {claim.study}; there are {', '.join(studies)}")
    return claim


def _fault(error: ValidationError, model: type[BaseModel], entry: Any) -> str:
    """The first fault of an entry: its key, its value, and what is allowed."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    if key not in model.model_fields:
        return f"{key}: no such key; there are {', '.join(model.model_fields)}"
    if first["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {entry[key]!r} must be {model.model_fields[key].description}"
