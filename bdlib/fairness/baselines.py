"""What mean-parity regression is compared with, by kept libraries where they have it, under one call."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge

from bdlib.fairness.mean_parity import KERNELS, FairKernelRegression, MeanParityRegressor
from bdlib.fairness.parity import Array

DEFAULTS: dict[str, Any] = {"kernel": "rbf", "gamma": None, "alpha": 1.0, "eta": 1000.0}  # eta: of FKR
GRID = 10  # models that the reduction tries
Predict = Callable[[Array, Any], Array]


def constant(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """The mean of the training targets: as fair as can be, and the worst sensible error."""
    return _ignoring(DummyRegressor().fit(X, y))


def ridge(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """Linear ridge regression by scikit-learn, whatever the kernel; least squares where alpha is 0."""
    return _ignoring(_linear((DEFAULTS | settings)["alpha"]).fit(X, y))


def kernel_ridge(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """Kernel ridge regression by scikit-learn, on the centered target."""
    mean, fitted = y.mean(), _kernel_ridge(settings).fit(X, y - y.mean())
    return lambda X, sensitive: np.asarray(fitted.predict(X) + mean)


def fair_kernel_regression(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """FKR (`FairKernelRegression`)."""
    kept = {name: value for name, value in (DEFAULTS | settings).items() if name in DEFAULTS}
    return _ignoring(FairKernelRegression(**kept).fit(X, y, sensitive_features=sensitive))


def mean_parity(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """The paper's method (`MeanParityRegressor`)."""
    return _ignoring(MeanParityRegressor(**settings).fit(X, y, sensitive_features=sensitive))


def correlation_remover(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """fairlearn's CorrelationRemover, then linear ridge: each feature loses its linear part in the attributes.

    A linear model of such features has no covariance with the attributes on the training set.
    """
    from fairlearn.preprocessing import CorrelationRemover

    columns = np.asarray(sensitive, dtype=np.float64).reshape(len(X), -1)
    positions = list(range(columns.shape[1]))
    remover = CorrelationRemover(sensitive_feature_ids=positions).fit(np.hstack([columns, X]))

    def cleaned(X: Array, sensitive: Any) -> Array:
        columns = np.asarray(sensitive, dtype=np.float64).reshape(len(X), -1)
        return np.asarray(remover.transform(np.hstack([columns, X])))

    fitted = _linear((DEFAULTS | settings)["alpha"]).fit(cleaned(X, sensitive), y)
    return lambda X, sensitive: np.asarray(fitted.predict(cleaned(X, sensitive)))


def reduction(X: Array, y: Array, sensitive: Any, **settings: Any) -> Predict:
    """fairlearn's reduction for regression: a grid search over weights of the groups' squared losses.

    Its constraint is bounded group loss (Agarwal et al. 2019): no group may have a large error. fairlearn has no
    reduction for the parity of means in regression. The model is the one of the best trade-off by fairlearn's own rule.
    """
    from fairlearn.reductions import BoundedGroupLoss, GridSearch, SquareLoss

    from bdlib.fairness.parity import group_codes

    mean = y.mean()
    loss = BoundedGroupLoss(SquareLoss(float(y.min() - mean), float(y.max() - mean)), upper_bound=0.0)
    search = GridSearch(_kernel_ridge(settings), constraints=loss, grid_size=GRID)
    search.fit(X, y - mean, sensitive_features=group_codes(sensitive))
    return lambda X, sensitive: np.asarray(search.predict(X), dtype=np.float64) + mean


ESTIMATORS: dict[str, Callable[..., Predict]] = {
    "constant": constant, "ridge": ridge, "kernel_ridge": kernel_ridge, "fkr": fair_kernel_regression,
    "correlation_remover": correlation_remover, "reduction": reduction, "mean_parity": mean_parity,
}  # fmt: skip


def _linear(alpha: float) -> Any:
    return Ridge(alpha=alpha) if alpha else LinearRegression()


def _kernel_ridge(settings: dict[str, Any]) -> KernelRidge:
    settings = DEFAULTS | settings
    return KernelRidge(
        alpha=settings["alpha"], kernel=KERNELS[settings["kernel"]], gamma=settings["gamma"], degree=3, coef0=1.0
    )


def _ignoring(fitted: Any) -> Predict:
    """Predictions of a fitted estimator, which does not look at the sensitive features of new samples."""
    return lambda X, sensitive: np.asarray(fitted.predict(X), dtype=np.float64)
