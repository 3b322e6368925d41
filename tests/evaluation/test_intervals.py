"""Intervals over seeds: by hand, and how often they contain the true mean."""

import numpy as np
import pytest
from scipy.stats import t

from bdlib.checks import ParameterError
from bdlib.evaluation.intervals import joint_level, paired_p_value, seed_interval

IMAGES = 3600  # of the test set
POPULATIONS = {  # how a score differs from seed to seed: accuracy, ASR of middling and of low size, a rare failure
    "accuracy": lambda rng, size: rng.normal(0.85, 0.01, size),
    "middling": lambda rng, size: rng.beta(5, 5, size),
    "low": lambda rng, size: rng.beta(2, 18, size),
    "one in five": lambda rng, size: np.where(rng.random(size) < 0.8, 0.02, 0.9),
}


def students(values, level=0.95):
    """The ends of `seed_interval` for every case of the last axis at once."""
    seeds = values.shape[-1]
    half = t.ppf((1 + level) / 2, seeds - 1) * values.std(axis=-1, ddof=1) / seeds**0.5
    return values.mean(axis=-1) - half, values.mean(axis=-1) + half


def test_many_intervals_at_once_are_those_of_the_library():
    assert seed_interval([0.1, 0.2, 0.4], level=0.9)[1:] == pytest.approx(students(np.array([0.1, 0.2, 0.4]), 0.9))


def test_the_interval_is_students():
    mean, low, high = seed_interval([1.0, 2.0, 3.0])
    assert mean == 2 and high - mean == pytest.approx(mean - low) == pytest.approx(4.30265273 / 3**0.5)
    assert seed_interval([0.1, 0.2], level=0.5) == pytest.approx((0.15, 0.1, 0.2))  # t is one for one degree of freedom


def test_equal_values_have_an_interval_of_no_width():
    assert seed_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        seed_interval([1.0])


def test_the_test_is_students_and_agrees_with_the_interval():
    assert paired_p_value([0.1, 0.2, 0.3]) == pytest.approx(0.0741799)
    low = seed_interval([0.1, 0.2, 0.3], level=1 - 0.0741799)[1]
    assert low == pytest.approx(0, abs=1e-6)
    assert (paired_p_value([0.5, 0.5]), paired_p_value([0.0, 0.0])) == (0, 1)
    with pytest.raises(ParameterError, match="at least 2"):
        paired_p_value([1.0])


def test_several_intervals_hold_together():
    assert joint_level(1) == pytest.approx(0.95) and joint_level(4) == pytest.approx(0.9875)
    low, high = students(np.random.default_rng(0).normal(0.0, 1.0, (10_000, 4, 3)), joint_level(4))
    assert 0.94 < ((low <= 0) & (high >= 0)).all(axis=1).mean() < 0.97


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("name", POPULATIONS)
def test_students_interval_covers_the_mean_where_a_bootstrap_does_not(name, seeds):
    """Student's is about nominal unless a failure is rare, which few seeds cannot know; the bootstrap is too short."""
    rng, cases, draws = np.random.default_rng(0), 1000, 200
    true = POPULATIONS[name](rng, 1_000_000).mean()
    scores = rng.binomial(IMAGES, POPULATIONS[name](rng, (cases, seeds)).clip(0, 1)) / IMAGES
    low, high = students(scores)
    student = np.mean((low.clip(min=0) <= true) & (true <= high.clip(max=1)))
    drawn = np.take_along_axis(scores[:, None], rng.integers(0, seeds, (cases, draws, seeds)), axis=2)
    means = (rng.binomial(IMAGES, drawn) / IMAGES).mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    bootstrap = np.mean((low <= true) & (true <= high))
    assert bootstrap < student
    assert bootstrap < (0.9 if seeds == 3 else 0.93)
    assert student < 0.75 if name == "one in five" else student > 0.91
