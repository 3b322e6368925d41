"""The baselines, on a split of a real table."""

import numpy as np
import pytest

from bdlib.checks import ParameterError
from bdlib.fairness.baselines import ESTIMATORS
from bdlib.fairness.mean_parity import MeanParityRegressor
from bdlib.fairness.split import scores, split_table

SETTINGS = dict(kernel="rbf", gamma=0.1, alpha=1.0, eta=None, parity="mean", components=None)


def run(name, **changes):
    train, test = split_table("diabetes", seed=1)
    predict = ESTIMATORS[name](train.X, train.y, train.sensitive, **(SETTINGS | changes))
    return scores(predict, train, test), predict(test.X, test.sensitive)


def test_the_split_is_scaled_by_its_training_rows_and_seeded():
    train, test = split_table("diabetes", seed=1)
    assert len(train.y) == 353 and len(test.y) == 89
    np.testing.assert_allclose(np.ptp(train.X, axis=0), 1.0)
    np.testing.assert_allclose(train.X.mean(axis=0), 0.0, atol=1e-12)
    assert train.y.std() == pytest.approx(1.0)
    assert np.array_equal(split_table("diabetes", seed=1)[0].X, train.X)
    assert not np.array_equal(split_table("diabetes", seed=2)[0].y, train.y)
    assert len(split_table("diabetes", rows=100)[1].y) == 20
    with pytest.raises(ParameterError, match=r"\Aattributes=5: must be from 1 to 4 for diabetes, which has sex, age"):
        split_table("diabetes", attributes=5)


def test_every_baseline_is_what_it_says():
    constant, predictions = run("constant")
    assert constant["mse_train"] == pytest.approx(1.0) and constant["smd_test"] < 1e-12
    assert np.ptp(predictions) == 0 and "spread_ratio_test" not in constant
    free, kernel_ridge = run("kernel_ridge")
    train, test = split_table("diabetes", seed=1)
    ours = MeanParityRegressor(gamma=0.1, eta=0.0).fit(train.X, train.y, sensitive_features=train.sensitive)
    np.testing.assert_allclose(kernel_ridge, ours.predict(test.X), atol=1e-9)
    fair, _ = run("mean_parity")
    assert fair["smd_train"] < 1e-8 < fair["smd_test"] and free["mse_train"] <= fair["mse_train"] <= 1
    fkr, _ = run("fkr", eta=1000.0)
    assert 1e-8 < fkr["smd_train"] < free["smd_train"]


def test_least_squares_is_the_linear_kernel_without_a_ridge_and_so_is_the_fair_one_with_a_remover():
    pytest.importorskip("fairlearn")
    linear = dict(kernel="linear", alpha=0.0)
    np.testing.assert_allclose(run("ridge", **linear)[1], run("mean_parity", **linear, eta=0.0)[1], atol=1e-6)
    removed, predictions = run("correlation_remover", **linear)
    assert removed["smd_train"] < 1e-8
    np.testing.assert_allclose(predictions, run("mean_parity", **linear)[1], atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_reduction_runs_and_leaves_means_unequal():
    pytest.importorskip("fairlearn")
    reduced, predictions = run("reduction")
    assert 1e-8 < reduced["smd_train"] and reduced["mse_train"] < 0.7 and predictions.dtype == np.float64


@pytest.mark.parametrize(("change", "words"), [
    ({"test_share": 5}, "test_share=5: must be a number from 0.05 to 0.9"),
    ({"rows": 1}, "rows=1: must be a whole number from 50"), ({"attributes": 0}, "attributes=0: must be a whole"),
])  # fmt: skip
def test_a_split_that_cannot_be_is_one_line(change, words):
    with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
        split_table("diabetes", **change)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_every_estimator_has_settings_of_its_own():
    train, test = split_table("diabetes", rows=80)
    for name, fit in ESTIMATORS.items():
        assert np.isfinite(fit(train.X, train.y, train.sensitive)(test.X, test.sensitive)).all(), name
