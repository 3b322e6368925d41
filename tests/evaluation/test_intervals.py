"""Intervals over seeds."""

import pytest

from bdlib.evaluation.intervals import seed_interval


def test_the_interval_is_students():
    mean, low, high = seed_interval([1.0, 2.0, 3.0])
    assert mean == 2 and high - mean == pytest.approx(mean - low) == pytest.approx(4.30265273 / 3**0.5)
    assert seed_interval([0.1, 0.2], level=0.5) == pytest.approx((0.15, 0.1, 0.2))  # t is one for one degree of freedom


def test_equal_values_have_an_interval_of_no_width():
    assert seed_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        seed_interval([1.0])
