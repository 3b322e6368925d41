"""Groups, and what is unfair about predictions, as linear operators on the vector of predictions.

Mean parity (Wei et al., AISTATS 2023) asks that the mean prediction be the same in every group. It is linear in the
predictions f: B f = 0 for a matrix B with one row a group. So is the covariance version: no sensitive attribute may be
correlated with the predictions.
"""

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bdlib.checks import ParameterError
from bdlib.words import shown

Array: TypeAlias = NDArray[np.float64]
ROUNDING = 10 * np.finfo(float).eps  # of the largest value: a smaller spread is none
MISSING = "sensitive_features: there is a missing value; every sample must have a group"


def group_codes(sensitive: Any) -> NDArray[np.int64]:
    """The group of each sample, from 0: one group for each combination of attribute values that occurs.

    `sensitive` has shape (n,) or (n, attributes) and may hold numbers or text. Groups are the Cartesian product of the
    attributes without its empty cells, so a repeated attribute changes nothing. Raises ParameterError for another shape
    and for a missing value.

    >>> group_codes([[0, "f"], [1, "f"], [0, "f"]])
    array([0, 1, 0])
    """
    table = pd.DataFrame(columns_of(sensitive))
    if table.isna().to_numpy().any():
        raise ParameterError(MISSING)
    try:
        columns: list[NDArray[np.int64]] = [pd.factorize(table[name], sort=False)[0] for name in table]
    except TypeError:
        raise ParameterError("sensitive_features: each must be a number or text, not a collection") from None
    _, codes = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
    return np.asarray(codes, dtype=np.int64).reshape(-1)


def columns_of(sensitive: Any) -> NDArray[np.object_]:
    """Sensitive features as an array of shape (n, attributes). Raises ParameterError for any other shape."""
    try:
        values = np.asarray(sensitive, dtype=object)
    except ValueError:
        values = np.empty(())  # arrays of unequal shapes
    if values.ndim not in (1, 2) or not values.size:
        raise ParameterError(
            f"sensitive_features={shown(sensitive)}: must be an array, list or table of shape (n,) or (n, attributes)"
        )
    return values.reshape(len(values), -1)


def parity_operator(codes: NDArray[np.int64]) -> Array:
    """B of shape (groups, n): B f holds each group's mean prediction minus the mean of all.

    Its rows weighted by group size sum to zero, so its rank is the number of groups minus one.

    >>> parity_operator(np.array([0, 0, 1])) @ np.array([1.0, 3.0, 5.0])
    array([-1.,  2.])
    """
    members = (codes == np.unique(codes)[:, None]).astype(np.float64)
    return np.asarray(members / members.sum(axis=1, keepdims=True) - 1 / len(codes))


def covariance_operator(sensitive: Any) -> Array:
    """B of shape (attributes, n): B f holds the covariance of each numeric attribute with the predictions.

    An attribute that is constant but for rounding has none. Raises ParameterError for another shape than (n,) or
    (n, attributes), and for an attribute that is no finite number.
    """
    try:
        values = columns_of(sensitive).astype(np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError("sensitive_features: must be numbers where parity='covariance'") from None
    if np.isnan(values).any():
        raise ParameterError(MISSING)
    if np.isinf(values).any():
        raise ParameterError("sensitive_features: there is an infinite value; must be finite where parity='covariance'")
    centered = values - values.mean(axis=0)
    centered[:, np.ptp(values, axis=0) <= ROUNDING * np.abs(values).max(axis=0)] = 0.0
    return np.asarray(centered.T / len(values))


def mean_difference(predictions: Array, sensitive: Any) -> float:
    """SMD, the sum over groups of the absolute difference between a group's mean prediction and the mean of all.

    In the unit of the predictions. Groups are those of `group_codes`, for which `sensitive` may be codes as well. SMD
    sums over the groups that occur, so it grows with their number. Raises ParameterError as `group_codes`.

    >>> mean_difference(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]))
    3.0
    """
    return float(np.abs(parity_operator(group_codes(sensitive)) @ predictions).sum())


def largest_covariance(predictions: Array, sensitive: Any) -> float:
    """The largest absolute covariance of an attribute with the predictions, in the product of their units."""
    return float(np.abs(covariance_operator(sensitive) @ predictions).max())
