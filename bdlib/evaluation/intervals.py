"""How sure we are of a mean over seeds."""

from collections.abc import Sequence
from functools import cache
from math import sqrt
from statistics import stdev
from typing import Annotated

from pydantic import Field

from bdlib.checks import ParameterError, checked

LEVEL = 0.95  # of every interval in the book, unless it says otherwise


@checked
def joint_level(intervals: Annotated[int, Field(ge=1)], *,
                level: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = LEVEL) -> float:  # fmt: skip
    """The level that each of several intervals needs, so that all of them hold together at `level` (Bonferroni).

    Example: ``joint_level(4)`` gives 0.9875.
    """
    return 1 - (1 - level) / intervals


@checked
def seed_interval(
    values: Sequence[Annotated[float, Field(allow_inf_nan=False)]],
    *,
    level: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = LEVEL,
) -> tuple[float, float, float]:
    """Mean, and the two ends of Student's t interval for the mean over seeds.

    The ends are the mean where all values are equal. Raises ParameterError for fewer than two values.

    Example: ``seed_interval([0.1, 0.2, 0.3])`` gives about ``(0.2, -0.048, 0.448)``.
    """
    if len(values) < 2:
        raise ParameterError(f"values: {len(values)} seed(s) given, an interval needs at least 2")
    mean = sum(values) / len(values)
    half = _student_quantile((1 + level) / 2, len(values) - 1) * stdev(values) / sqrt(len(values))
    return mean, mean - half, mean + half


@cache
def _student_quantile(share: float, degrees: int) -> float:
    """The quantile of Student's t distribution."""
    from scipy.stats import t

    return float(t.ppf(share, degrees))


@checked
def paired_p_value(differences: Sequence[Annotated[float, Field(allow_inf_nan=False)]]) -> float:
    """How likely differences over seeds of this size are if their mean is zero: Student's paired test, two-sided.

    Zero where all differences are the same and not zero. Raises ParameterError for fewer than two values.

    Example: ``paired_p_value([0.1, 0.2, 0.3])`` gives about 0.07.
    """
    if len(differences) < 2:
        raise ParameterError(f"differences: {len(differences)} seed(s) given, a test needs at least 2")
    from scipy.stats import t

    mean, error = sum(differences) / len(differences), stdev(differences) / sqrt(len(differences))
    if error == 0:
        return float(mean == 0)
    return float(2 * t.sf(abs(mean) / error, len(differences) - 1))
