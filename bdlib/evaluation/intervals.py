"""How sure we are of a mean over seeds."""

from collections.abc import Sequence


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean, and the two ends of Student's t interval for the mean over seeds.

    The ends are the mean where all values are equal. Raises ValueError for fewer than two values.

    Example: ``seed_interval([0.1, 0.2, 0.3])`` gives about ``(0.2, -0.048, 0.448)``.
    """
    if len(values) < 2:
        raise ValueError(f"values: {len(values)} seed(s) given, an interval needs at least 2")
    from scipy.stats import sem, t

    mean = sum(values) / len(values)
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * sem(values))  # t.interval is nan where values are equal
    return mean, mean - half, mean + half
