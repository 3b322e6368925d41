"""What is read from the records of a study, and the bound that it must keep."""

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

SHARES = ("acc", "asr", "ra")  # the metrics that are fractions of the test images
Text: TypeAlias = Annotated[str, Field(pattern=r"\S", description="text")]
Setting: TypeAlias = bool | int | float | str | list[int | float | str]


class Reading(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What is read from the records of a study: one metric of one method, for every run or for some."""

    metric: Text  # acc, asr, ra, der, seconds, or a name under `measured` in the records
    method: Text  # what the study calls it; "victim" for the model before the defense
    where: dict[str, Setting] = Field({}, description="parameters and their values, such as {rho: 2.0}")

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.where.items())
        return f"{self.metric} of {self.method}" + (f" where {chosen}" if chosen else "")


class Comparison(Reading, frozen=True):
    """A reading, alone or compared with another one, and the bound for its number."""

    expected: Annotated[str, Field(pattern=r"^(below|above|equal) -?\d+(\.\d+)?(e-?\d+)?$",
                                   description="below, above or equal, a blank, and a number")]  # fmt: skip
    versus: Text | dict[str, Any] | None = Field(None, description="a method, or a mapping of metric, method and where")
    how: Literal["value", "difference", "ratio", "correlation"] = Field(
        "value", description="value, difference, ratio or correlation"
    )
    tolerance: float = Field(0.0, ge=0, allow_inf_nan=False, description="a number from 0")
    unit: Literal["share", "points", "number"] | None = Field(None, description="share, points or number")

    @property
    def other(self) -> Reading | None:
        """What the own reading is compared with: the same metric, method and runs, but for `versus`."""
        if self.versus is None:
            return None
        changes = {"method": self.versus} if isinstance(self.versus, str) else self.versus
        return Reading.model_validate({name: getattr(self, name) for name in Reading.model_fields} | changes)

    @property
    def bound(self) -> tuple[str, float]:
        """Below, above or equal; and the number."""
        side, number = self.expected.split()
        return side, float(number)

    def keeps(self, value: float) -> bool:
        """Whether a value keeps the bound, the tolerance granted; false for one that is not a number."""
        side, number = self.bound
        if side == "equal":
            return abs(value - number) <= self.tolerance + 1e-12
        return value < number + self.tolerance if side == "below" else value > number - self.tolerance

    def excludes(self, low: float, high: float) -> bool:
        """Whether no value of an interval keeps the bound; false where its ends are not numbers."""
        side, number = self.bound
        nearest = {"below": low, "above": high, "equal": min(max(number, low), high)}[side]
        return not math.isnan(nearest) and not self.keeps(nearest)

    @property
    def is_share(self) -> bool:
        """Whether this is about one share of images, and so about a number between zero and one."""
        return self.how == "value" and (self.metric in SHARES or self.unit == "share")

    @property
    def factor(self) -> float:
        """What a value is multiplied by when shown: 100 for shares and points, 1 for plain numbers."""
        metrics = {reading.metric for reading in (self, self.other) if reading}
        by_default = self.unit is None and self.how in ("value", "difference") and metrics <= {*SHARES}
        return 100.0 if by_default or self.unit in ("share", "points") else 1.0

    def text(self, value: float) -> str:
        """A value in the unit."""
        return f"{100 * value:.1f}" if self.factor == 100 else f"{value:.3g}"

    @property
    def expectation(self) -> str:
        """The bound and its tolerance as a reader sees them."""
        side, number = self.bound
        sign = (" %" if self.is_share else " points") if self.factor == 100 else ""
        slack = f" (tolerance {self.factor * self.tolerance:g})" if self.tolerance else ""
        return f"{side} {self.factor * number:g}{sign}{slack}"


class Condition(Comparison, frozen=True):
    """What must hold of a group before its answer counts (a premise), or before it may say yes (a floor)."""

    reason: Text | None = None
