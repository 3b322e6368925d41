"""How sure we are of a mean over seeds."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Generator, Tensor


def bootstrap_interval(
    hits: Tensor, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a share of test images: how far one model's score could move on other images."""
    draws = torch.randint(len(hits), (resamples, len(hits)), generator=Generator().manual_seed(seed))
    means = hits.cpu().double()[draws].mean(1)
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean, and the two ends of Student's t interval for the mean over seeds. Raises ValueError under two seeds."""
    n = len(values)
    if n < 2:
        raise ValueError(f"values: {n} seed(s) given, an interval needs at least 2")
    from scipy.stats import t as student

    mean = sum(values) / n
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = student.ppf((1 + level) / 2, n - 1) * deviation / sqrt(n)
    return mean, mean - half, mean + half
