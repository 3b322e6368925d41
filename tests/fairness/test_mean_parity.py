"""The closed forms of mean-parity regression: what must hold of them exactly, and what an estimator must do."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from bdlib.checks import ParameterError
from bdlib.fairness.closed_form import null_space_weights, one_solve_weights
from bdlib.fairness.mean_parity import FairKernelRegression, MeanParityRegressor
from bdlib.fairness.parity import group_codes, mean_difference, parity_operator

KERNELS = ("linear", "rbf", "polynomial")
SEEDS = (0, 1, 2)


def problem(seed, n=200, attributes=2):
    """X (n, 5) that depends on the attributes (n, attributes) of 0 and 1, and y (n,) that depends on X."""
    draw = np.random.default_rng(seed)
    sensitive = (draw.random((n, attributes)) < (0.4, 0.6, 0.5)[:attributes]).astype(int)
    X = draw.normal(size=(n, 5))
    X[:, :attributes] += sensitive
    return X, 2 * X[:, 0] + np.sin(X[:, 1]) + X[:, 2] ** 2 / 2 + 0.1 * draw.normal(size=n) + 3, sensitive


def mse(predictions, y):
    return np.mean((predictions - y) ** 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(  # with an RBF kernel, which has no null space, only a ridge makes predictions unique
    ("kernel", "alpha"), [pair for pair in product(KERNELS, [0.0, 1e-6, 0.1, 1.0, 100.0]) if pair != ("rbf", 0.0)]
)
def test_means_are_equal_and_both_closed_forms_agree(seed, kernel, alpha):
    X, y, s = problem(seed)
    fair = MeanParityRegressor(kernel=kernel, alpha=alpha).fit(X, y, sensitive_features=s)
    released = MeanParityRegressor(kernel=kernel, alpha=alpha, form="null_space").fit(X, y, sensitive_features=s)
    predictions, codes = fair.predict(X), group_codes(s)
    assert np.abs(fair.operator_ @ predictions).max() < 1e-8 and mean_difference(predictions, codes) < 1e-8
    new = X + 0.1
    assert np.abs(fair.predict(new) - released.predict(new)).max() < 1e-6
    assert predictions.dtype == np.float64


@pytest.mark.parametrize("seed", SEEDS)
def test_the_weights_are_those_of_the_formulas(seed):
    """Written again here, with inverses: the constraint B K w = 0 holds, and w solves both textbook systems."""
    X, y, s = problem(seed, n=80)
    K, B, y = rbf_kernel(X, gamma=0.2), parity_operator(group_codes(s)), y - y.mean()
    w = one_solve_weights(K, y, B, alpha=0.5)
    R = np.linalg.inv(K + 0.5 * np.eye(80))
    mu = np.linalg.pinv(B @ K @ R @ B.T, rcond=1e-10) @ B @ K @ R @ y
    assert np.abs(B @ K @ w).max() < 1e-10
    np.testing.assert_allclose(w, R @ (y - B.T @ mu), atol=1e-8)
    _, _, rows = np.linalg.svd(B @ K)
    P = rows[3:].T @ rows[3:]  # four groups: rank three
    direct = P @ np.linalg.pinv(P @ (K @ K + 0.5 * K) @ P, rcond=1e-14) @ P @ K @ y
    np.testing.assert_allclose(K @ null_space_weights(K, y, B, alpha=0.5), K @ direct, atol=1e-6)
    relaxed = one_solve_weights(K, y, B, alpha=0.5, eta=7.0)
    np.testing.assert_allclose(np.linalg.solve(K + 0.5 * np.eye(80) + 7 * B.T @ B @ K, y), relaxed, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_group_is_kernel_ridge(kernel):
    X, y, _ = problem(0)
    names = {"polynomial": "poly"}
    ridge = KernelRidge(alpha=0.7, kernel=names.get(kernel, kernel), gamma=0.3, degree=3, coef0=1.0)
    expected = ridge.fit(X, y - y.mean()).predict(X) + y.mean()
    for sensitive in (None, np.ones(len(y))):
        fair = MeanParityRegressor(kernel=kernel, gamma=0.3, alpha=0.7).fit(X, y, sensitive_features=sensitive)
        np.testing.assert_allclose(fair.predict(X), expected, atol=1e-9)
    unpenalized = MeanParityRegressor(kernel=kernel, gamma=0.3, alpha=0.7, eta=0.0)
    unpenalized.fit(X, y, sensitive_features=X[:, 0] > 0)
    np.testing.assert_allclose(unpenalized.predict(X), expected, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_large_ridge_gives_the_mean(kernel):
    X, y, s = problem(1)
    fair = MeanParityRegressor(kernel=kernel, alpha=1e13).fit(X, y, sensitive_features=s)
    np.testing.assert_allclose(fair.predict(X), y.mean(), atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_that_does_not_depend_on_balanced_groups_costs_little(seed):
    draw = np.random.default_rng(seed)
    X, s = np.tile(draw.normal(size=(500, 4)), (2, 1)), np.arange(1000) // 500  # the same people in both groups
    y = X[:, 0] + np.sin(2 * X[:, 1]) + draw.normal(size=1000)
    errors = [
        mse(MeanParityRegressor(gamma=0.2, eta=eta).fit(X, y, sensitive_features=s).predict(X), y)
        for eta in (0.0, None)
    ]
    assert errors[0] <= errors[1] < 1.02 * errors[0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("parity", ["mean", "covariance"])
def test_the_path_is_monotone_and_ends_at_the_exact_solution(seed, parity):
    X, y, s = problem(seed)
    paths = [
        MeanParityRegressor(eta=eta, parity=parity).fit(X, y, sensitive_features=s)
        for eta in (0.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e8, None)
    ]
    violations = [np.linalg.norm(fair.operator_ @ fair.predict(X)) for fair in paths]
    objective = [mse(fair.predict(X), y) * len(y) + ridge_term(fair, X, y) for fair in paths]
    assert violations == sorted(violations, reverse=True) and objective == sorted(objective)
    if parity == "mean":
        errors = [mse(fair.predict(X), y) for fair in paths]
        differences = [mean_difference(fair.predict(X), group_codes(s)) for fair in paths]
        assert errors == sorted(errors) and differences == sorted(differences, reverse=True)
    np.testing.assert_allclose(paths[-2].predict(X), paths[-1].predict(X), atol=1e-3)


def ridge_term(fair, X, y):
    """alpha w' K w, since f = K w is the prediction without the intercept."""
    return fair.alpha * fair.dual_coef_ @ (fair.predict(X) - y.mean())


def test_names_and_order_of_groups_do_not_count():
    X, y, s = problem(2)
    fair = MeanParityRegressor().fit(X, y, sensitive_features=s).predict(X)
    order = np.random.default_rng(0).permutation(len(y))
    moved = MeanParityRegressor().fit(X[order], y[order], sensitive_features=s[order])
    np.testing.assert_allclose(moved.predict(X), fair, atol=1e-10)
    texts = np.array(["b", "a"])[s]
    np.testing.assert_allclose(MeanParityRegressor().fit(X, y, sensitive_features=texts).predict(X), fair, atol=1e-10)
    twice = np.column_stack([s, s[:, 0]])
    for parity in ("mean", "covariance"):
        once = MeanParityRegressor(parity=parity).fit(X, y, sensitive_features=s).predict(X)
        again = MeanParityRegressor(parity=parity).fit(X, y, sensitive_features=twice).predict(X)
        np.testing.assert_allclose(again, once, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_without_a_ridge_the_fair_error_is_between_that_of_the_kernel_and_the_constant(seed, kernel):
    X, y, s = problem(seed, n=60)
    free, fair = (
        MeanParityRegressor(kernel=kernel, alpha=0.0, eta=eta).fit(X, y, sensitive_features=s) for eta in (0.0, None)
    )
    assert mse(free.predict(X), y) <= mse(fair.predict(X), y) + 1e-9
    assert mse(fair.predict(X), y) <= mse(np.full(len(y), y.mean()), y) + 1e-9


def test_covariance_parity_of_one_binary_attribute_is_mean_parity():
    X, y, s = problem(0, attributes=1)
    mean = MeanParityRegressor().fit(X, y, sensitive_features=s).predict(X)
    covariance = MeanParityRegressor(parity="covariance").fit(X, y, sensitive_features=s)
    np.testing.assert_allclose(covariance.predict(X), mean, atol=1e-9)
    ages = np.random.default_rng(3).normal(size=(len(y), 2)) + X[:, :1]
    fair = MeanParityRegressor(parity="covariance").fit(X, y, sensitive_features=ages)
    assert np.abs(np.cov(np.column_stack([fair.predict(X), ages]).T)[0, 1:]).max() < 1e-10


def test_fkr_is_the_formula_and_for_two_groups_the_methods_own_path():
    X, y, s = problem(0, attributes=1)
    K, n = rbf_kernel(X, gamma=0.2), len(y)
    onehot = np.column_stack([s[:, 0] == 0, s[:, 0] == 1]).astype(float)
    H = np.eye(n) - 1 / n
    w = np.linalg.solve(K + np.eye(n) + 500 / n**2 * H @ onehot @ onehot.T @ H @ K, y - y.mean())
    fkr = FairKernelRegression(gamma=0.2, eta=500.0).fit(X, y, sensitive_features=s)
    np.testing.assert_allclose(fkr.predict(X), K @ w + y.mean(), atol=1e-9)
    sizes = onehot.sum(axis=0)  # B has rows d / n_0 and -d / n_1 for one vector d, Hs has 2 d d'
    eta = 500 * 2 / n**2 / (1 / sizes**2).sum()
    path = MeanParityRegressor(gamma=0.2, eta=eta).fit(X, y, sensitive_features=s)
    np.testing.assert_allclose(path.predict(X), fkr.predict(X), atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nystroem_of_full_rank_is_exact_and_keeps_parity_at_any_rank(kernel):
    X, y, s = problem(1)
    exact = MeanParityRegressor(kernel=kernel, gamma=0.2).fit(X, y, sensitive_features=s)
    gaps = []
    for components in (5, 50, 200):
        low = MeanParityRegressor(kernel=kernel, gamma=0.2, components=components).fit(X, y, sensitive_features=s)
        assert mean_difference(low.predict(X), group_codes(s)) < 1e-8
        gaps.append(np.sqrt(mse(low.predict(X), exact.predict(X))))
    assert gaps[2] < 1e-5 and gaps[2] <= gaps[1] + 1e-9 <= gaps[0] + 2e-9
    again = MeanParityRegressor(kernel=kernel, gamma=0.2, components=50).fit(X, y, sensitive_features=s)
    other = MeanParityRegressor(kernel=kernel, gamma=0.2, components=50, random_state=1)
    other.fit(X, y, sensitive_features=s)
    assert len(again.dual_coef_) == 50 and not np.array_equal(other.predict(X), again.predict(X))


CHECK = """
from sklearn.utils.estimator_checks import check_estimator
from bdlib.fairness.mean_parity import FairKernelRegression, MeanParityRegressor

estimators = [MeanParityRegressor(), MeanParityRegressor(kernel="linear", alpha=0.0),
              MeanParityRegressor(components=20), FairKernelRegression(),
              MeanParityRegressor(form="null_space", parity="covariance")]
print(sum(len(check_estimator(estimator)) for estimator in estimators))
"""


def test_scikit_learns_own_checks():
    """All of them, none excluded; without sensitive features there is one group.

    In another process, as the tests' type checker refuses in `__init__` what scikit-learn wants refused in `fit`.
    """
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 200


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"alpha": -1.0}, "alpha=-1.0: must be a number from 0 to 1e+15"),
        ({"alpha": float("nan")}, "alpha=nan: must be a number from 0 to 1e+15"),
        ({"kernel": "gauss"}, "kernel='gauss': must be one of linear, rbf, polynomial"),
        ({"eta": -0.5}, "eta=-0.5: must be a number from 0 to 1e+15, or None"),
        ({"parity": "median"}, "parity='median': must be one of mean, covariance"),
        ({"form": "three"}, "form='three': must be one of one_solve, null_space"),
        ({"components": 0}, "components=0: must be a whole number from 1 to 20000, or None"),
        ({"gamma": 0.0}, "gamma=0.0: must be a number above 0, at most 1000000, or None"),
    ],
)
def test_bad_values_are_one_line(bad, words):
    X, y, s = problem(0, n=20)
    with pytest.raises(ParameterError) as raised:
        MeanParityRegressor().set_params(**bad).fit(X, y, sensitive_features=s)
    assert str(raised.value) == words


def test_fkr_has_no_exact_form():
    X, y, s = problem(0, n=20)
    with pytest.raises(ParameterError, match=r"\Aeta=None: must be a number from 0 to 1e\+15\Z"):
        FairKernelRegression().set_params(eta=None).fit(X, y, sensitive_features=s)


@pytest.mark.parametrize("kind", [MeanParityRegressor, FairKernelRegression])
def test_an_array_that_is_changed_after_the_fit_changes_no_prediction(kind):
    X, y, s = problem(0, n=20)
    fitted, new = kind(gamma=0.1).fit(X, y, sensitive_features=s), X[:5].copy()
    before = fitted.predict(new)
    X *= 2
    assert np.array_equal(fitted.predict(new), before)


def test_a_group_for_nearly_every_sample_is_warned_of():
    X, y, _ = problem(0, n=40)
    with pytest.warns(UserWarning, match=r"\Asensitive_features: 40 groups for 40 samples: cut a number into"):
        MeanParityRegressor().fit(X, y, sensitive_features=np.arange(40.0))


def test_bad_sensitive_features_are_one_line():
    X, y, _ = problem(0, n=20)
    with pytest.raises(ValueError, match=r"\Asensitive_features: must have 20 rows as X has, not 3\Z"):
        MeanParityRegressor().fit(X, y, sensitive_features=[0, 1, 1])
    with pytest.raises(ParameterError, match=r"\Asensitive_features: must be numbers where parity='covariance'\Z"):
        MeanParityRegressor(parity="covariance").fit(X, y, sensitive_features=["a"] * 20)
    with pytest.raises(ParameterError, match=r"\Asensitive_features: there is a missing value; every sample must"):
        MeanParityRegressor().fit(X, y, sensitive_features=[None] + [1] * 19)


@pytest.mark.parametrize("rows", [np.zeros((20, 0)), np.zeros((20, 1, 1)), "ab" * 10, 3, set(range(20)), {"sex": [0]}])
@pytest.mark.parametrize("parity", ["mean", "covariance"])
def test_sensitive_features_of_another_shape_are_one_line(parity, rows):
    X, y, _ = problem(0, n=20)
    with pytest.raises(ParameterError, match=r"\Asensitive_features=[^\n]*: must be an array, list or table of shape"):
        MeanParityRegressor(parity=parity).fit(X, y, sensitive_features=rows)


def test_sensitive_features_that_are_no_values_are_one_line():
    X, y, _ = problem(0, n=20)
    for rows in ([[0], [1, 2]] * 10, [{"a": 1}] * 20):
        with pytest.raises(ParameterError, match=r"\Asensitive_features: each must be a number or text, not a coll"):
            MeanParityRegressor().fit(X, y, sensitive_features=rows)
    for rows, words in (([np.inf] + [1] * 19, "there is an infinite value"), ([1j] * 20, "must be numbers")):
        with pytest.raises(ParameterError, match=rf"\Asensitive_features: {words}"):
            MeanParityRegressor(parity="covariance").fit(X, y, sensitive_features=rows)


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e8, 1e12, 1e-8])
@pytest.mark.parametrize("change", [{}, {"form": "null_space"}, {"components": 60}, {"alpha": 1e-9}])
def test_attributes_of_very_different_scale_are_all_uncorrelated_with_the_predictions(change, scale):
    X, y, s = problem(0)
    income = scale * (X[:, 1] + np.random.default_rng(3).normal(size=len(y)))
    attributes = np.column_stack([s, income, np.full(len(y), 0.1)])  # the last is constant
    fair = MeanParityRegressor(**{"parity": "covariance", "gamma": 0.2} | change)
    predictions = fair.fit(X, y, sensitive_features=attributes).predict(X)
    assert np.abs(np.corrcoef(np.column_stack([predictions, attributes[:, :3]]).T)[0, 1:]).max() < 1e-9
    assert mse(predictions, y) < 0.9 * y.var()


@pytest.mark.parametrize("alpha", [0.0, 1e-12, 1.0])
@pytest.mark.parametrize("change", [{}, {"form": "null_space"}, {"components": 5}])
def test_features_that_say_nothing_give_the_mean(change, alpha):
    _, y, s = problem(0, n=20)
    for X in (np.zeros((20, 2)), np.zeros((1, 2))):
        fair = MeanParityRegressor(kernel="linear", alpha=alpha, **change)
        fair.fit(X, y[: len(X)], sensitive_features=s[: len(X)])
        np.testing.assert_allclose(fair.predict(X), y[: len(X)].mean(), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_both_closed_forms_agree_for_features_of_any_scale(scale):
    X, y, s = problem(1)
    one, null = (
        MeanParityRegressor(kernel="linear", form=form).fit(scale * X, y, sensitive_features=s).predict(scale * X)
        for form in ("one_solve", "null_space")
    )
    np.testing.assert_allclose(one, null, atol=1e-9)


@pytest.mark.parametrize("change", [{"eta": 1.0}, {"components": 5}])
def test_the_released_form_refuses_what_it_would_not_do(change):
    X, y, s = problem(0, n=20)
    with pytest.raises(ParameterError, match=r"\Aform='null_space': must be one_solve where eta or components is not"):
        MeanParityRegressor(form="null_space", **change).fit(X, y, sensitive_features=s)
    with pytest.raises(ParameterError, match=r"\Acomponents=np.int64\(5\): must be a whole number"):
        MeanParityRegressor().set_params(components=np.int64(5)).fit(X, y, sensitive_features=s)
