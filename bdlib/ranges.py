"""What keywords may be: the ranges that signatures share, as `alpha: ranges.Weight = 0.2`.

A method whose range differs writes an `Annotated` of its own. `bdlib.checks` reads both from the signature, for Python
calls, notebooks and the command line alike.
"""

from typing import Annotated, Literal

from pydantic import Field

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveFraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]  # of a term of a loss
Radius = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]  # of a perturbation
LearningRate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1000)]  # of epochs, rounds or steps of which there must be one
CountOrZero = Annotated[int, Field(ge=0, le=1000)]
BatchSize = Annotated[int, Field(ge=2, le=4096)]
Augmentation = Annotated[int, Field(ge=0, le=64)] | None  # largest shift of the random crop, in pixels, with mirroring
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
DerivedSeed = Annotated[int, Field(ge=0, lt=2**63)]  # of a generator; also a user's seed with something added
Variant = Literal["paper", "released"]
