"""Mean-parity fair regression in an RKHS. Wei, Liu, Li and Zha, AISTATS 2023, arXiv:2302.10409.

Mean parity is linear in the predictions, so the fair functions form a subspace of the kernel's function space, and
ridge regression inside that subspace has a closed form. A quadratic penalty in place of the constraint gives a path
from kernel ridge regression (eta = 0) to the fair function (eta without bound).
"""

import warnings
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import linalg
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.utils.validation import check_is_fitted, validate_data

from bdlib import ranges
from bdlib.checks import ParameterError, check_values, keywords
from bdlib.fairness.closed_form import null_space_weights, one_solve_weights, primal_weights
from bdlib.fairness.parity import Array, columns_of, covariance_operator, group_codes, parity_operator

NUMBERS_VERSION = 1  # raise it when a change here, in `closed_form`, `parity` or `baselines` changes numbers
MANY = 20  # samples: with fewer, groups are small anyway
KERNELS = {"linear": "linear", "rbf": "rbf", "polynomial": "poly"}  # ours, and scikit-learn's names
Kernel = Literal["linear", "rbf", "polynomial"]
Ridge = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Penalty = Weight | None
Gamma = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None
Components = Annotated[int, Field(ge=1, le=20000)] | None
Degree = Annotated[int, Field(ge=1, le=10)]
Constant = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


class KernelRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What the kernel regressions share: a checked kernel, targets centered on their training mean, prediction."""

    def _checked(self, X: Any, y: Any, sensitive_features: Any) -> tuple[Array, Array, Any]:
        """X (n, features), y minus its mean (n,), and the sensitive features; one group where none are given."""
        check_values(self.get_params(), keywords(type(self).__init__))
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, copy=True)
        if sensitive_features is None:
            sensitive_features = np.zeros(len(y))
        if (rows := len(columns_of(sensitive_features))) != len(y):
            raise ParameterError(f"sensitive_features: must have {len(y)} rows as X has, not {rows}")
        self.intercept_ = float(np.mean(y))
        return X, np.asarray(y, dtype=np.float64) - self.intercept_, sensitive_features

    def _kernel(self, X: Array, other: Array) -> Array:
        settings = {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        return np.asarray(pairwise_kernels(X, other, metric=KERNELS[self.kernel], filter_params=True, **settings))

    def predict(self, X: Any) -> Array:
        """Predictions of shape (n,) for X of shape (n, features), in the unit of the training targets."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        if getattr(self, "features_", None) is not None:
            return np.asarray(self.features_.transform(X) @ self.dual_coef_ + self.intercept_)
        return np.asarray(self._kernel(X, self.X_fit_) @ self.dual_coef_ + self.intercept_)


class MeanParityRegressor(KernelRegressor):
    """Kernel ridge regression whose mean prediction is the same in every group of the training set.

    Parameters: `kernel` with `gamma` (None: one over the number of features), `degree` and `coef0`; `alpha`, the ridge
    (lambda in the paper); `eta`, the weight of the penalty on unequal means, None for exact parity; `parity`, "mean" or
    "covariance"; `form`, which closed form solves it ("null_space" is the released code's, for exact parity alone);
    `components`, the rank of a Nystroem approximation for many samples, None for none; `random_state`, its seed.

    Fitted: `dual_coef_` (n,), or (components,) with Nystroem; `intercept_`, the mean training target; `operator_`, B.
    Source: arXiv:2302.10409 and its released code; the one-solve form and the penalty are ours. `fit` raises
    ParameterError for a parameter out of its range.

    Example::

        fair = MeanParityRegressor(kernel="rbf", gamma=0.1).fit(X, y, sensitive_features=sex)
        fair.predict(X_new)
    """

    def __init__(
        self, *, kernel: Kernel = "rbf", gamma: Gamma = None, degree: Degree = 3, coef0: Constant = 1.0,
        alpha: Ridge = 1.0, eta: Penalty = None, parity: Literal["mean", "covariance"] = "mean",
        form: Literal["one_solve", "null_space"] = "one_solve", components: Components = None,
        random_state: ranges.Seed = 0,
    ) -> None:  # fmt: skip
        self.kernel, self.gamma, self.degree, self.coef0 = kernel, gamma, degree, coef0
        self.alpha, self.eta, self.parity, self.form = alpha, eta, parity, form
        self.components, self.random_state = components, random_state

    def fit(self, X: Any, y: Any, sensitive_features: Any = None) -> "MeanParityRegressor":
        """Fit to X (n, features) and y (n,); `sensitive_features` is (n,) or (n, attributes), None for one group.

        With one group there is nothing to make equal, and the result is kernel ridge regression. Raises ParameterError,
        and ValueError for arrays that do not fit each other.
        """
        if self.form == "null_space" and (self.eta, self.components) != (None, None):
            raise ParameterError("form='null_space': must be one_solve where eta or components is not None")
        X, y, sensitive = self._checked(X, y, sensitive_features)
        self.operator_ = operator(sensitive, self.parity)
        self.X_fit_ = X
        self.features_: Any = None
        if self.components is not None:
            self._fit_features(X, y, min(self.components, len(X)))
        elif self.form == "null_space":
            self.dual_coef_ = null_space_weights(self._kernel(X, X), y, self.operator_, alpha=self.alpha)
        else:
            kernel = self._kernel(X, X)
            self.dual_coef_ = one_solve_weights(kernel, y, self.operator_, alpha=self.alpha, eta=self.eta)
        return self

    def _fit_features(self, X: Array, y: Array, components: int) -> None:
        self.features_ = Nystroem(
            KERNELS[self.kernel], n_components=components, random_state=self.random_state,
            **{name: getattr(self, name) for name in ("gamma", "degree", "coef0") if self._takes(name)},
        )  # fmt: skip
        features = self.features_.fit_transform(X)
        self.dual_coef_ = primal_weights(features, y, self.operator_, alpha=self.alpha, eta=self.eta)

    def _takes(self, name: str) -> bool:
        return name in {"rbf": ("gamma",), "polynomial": ("gamma", "degree", "coef0"), "linear": ()}[self.kernel]


class FairKernelRegression(KernelRegressor):
    """FKR (Perez-Suay et al. 2017): kernel ridge regression with a penalty on dependence of the attributes.

    Solves (K + alpha I + eta / n^2 Hs K) w = y, with Hs the centered linear kernel of the one-hot coded groups. The
    released code of MP fair regression uses it as a baseline with eta = 1000.
    """

    def __init__(
        self, *, kernel: Kernel = "rbf", gamma: Gamma = None, degree: Degree = 3, coef0: Constant = 1.0,
        alpha: Ridge = 1.0, eta: Weight = 1000.0,
    ) -> None:  # fmt: skip
        self.kernel, self.gamma, self.degree, self.coef0, self.alpha, self.eta = (
            kernel,
            gamma,
            degree,
            coef0,
            alpha,
            eta,
        )

    def fit(self, X: Any, y: Any, sensitive_features: Any = None) -> "FairKernelRegression":
        """As `MeanParityRegressor.fit`."""
        X, y, sensitive = self._checked(X, y, sensitive_features)
        codes = _groups(sensitive)
        coded = (codes[:, None] == np.unique(codes)).astype(np.float64)
        centered = coded - coded.mean(axis=0)
        kernel = self._kernel(X, X)
        system = kernel + self.eta / len(y) ** 2 * centered @ (centered.T @ kernel)
        system[np.diag_indices(len(y))] += self.alpha
        self.X_fit_ = X
        self.dual_coef_ = linalg.solve(system, y) if self.alpha else linalg.lstsq(system, y)[0]
        return self


def operator(sensitive: Any, parity: str) -> Array:
    """The matrix B of a notion of parity, "mean" or "covariance", for the sensitive features of n samples."""
    return covariance_operator(sensitive) if parity == "covariance" else parity_operator(_groups(sensitive))


def _groups(sensitive: Any) -> NDArray[np.int64]:
    """The group of each sample; a warning where nearly every sample has one of its own."""
    codes = group_codes(sensitive)
    if (groups := len(np.unique(codes))) > len(codes) / 2 and len(codes) >= MANY:
        words = "cut a number into a few ranges first, or the prediction is nearly constant"
        warnings.warn(f"sensitive_features: {groups} groups for {len(codes)} samples: {words}", stacklevel=4)
    return codes
