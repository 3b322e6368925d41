"""Groups, and the operators that say how unequal predictions are."""

import numpy as np
import pandas as pd
import pytest

from bdlib.fairness.parity import (
    covariance_operator,
    group_codes,
    largest_covariance,
    mean_difference,
    parity_operator,
)


def test_groups_are_the_combinations_that_occur():
    table = pd.DataFrame({"sex": ["f", "m", "f", "m"], "old": [1, 1, 0, 1]})
    assert group_codes(table).tolist() == [0, 2, 1, 2]
    assert group_codes(np.array([3, 1, 3])).tolist() == group_codes([["x"], ["y"], ["x"]]).tolist() == [0, 1, 0]


def test_b_takes_the_mean_of_a_group_minus_the_mean_of_all():
    codes = np.array([0, 0, 1, 2, 2, 2])
    B, f = parity_operator(codes), np.array([1.0, 3.0, 5.0, 0.0, 1.0, 2.0])
    assert B.shape == (3, 6) and np.linalg.matrix_rank(B) == 2
    np.testing.assert_allclose(B @ f, [0.0, 3.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(B @ np.ones(6), 0, atol=1e-15)
    assert mean_difference(f, codes) == pytest.approx(4.0)


def test_the_covariance_is_numpys():
    draw = np.random.default_rng(0)
    ages, f = draw.normal(size=(50, 2)), draw.normal(size=50)
    expected = np.cov(np.column_stack([f, ages]).T, bias=True)[0, 1:]
    np.testing.assert_allclose(covariance_operator(ages) @ f, expected)
    assert largest_covariance(f, ages) == pytest.approx(np.abs(expected).max())


def test_a_difference_of_means_takes_sensitive_features_as_they_are():
    predictions = np.array([1.0, 3.0, 5.0])
    for groups in (np.array([0, 0, 1]), pd.Series(["f", "f", "m"]), pd.DataFrame({"sex": [4, 4, 2]})):
        assert mean_difference(predictions, groups) == 3.0
