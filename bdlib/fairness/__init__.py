"""Fair regression: the appendix of the book. No networks and no attacker: numpy and scipy in float64."""

from bdlib.fairness.baselines import ESTIMATORS
from bdlib.fairness.mean_parity import MeanParityRegressor
from bdlib.fairness.parity import covariance_operator, group_codes, mean_difference, parity_operator

__all__ = ["ESTIMATORS", "MeanParityRegressor", "covariance_operator", "group_codes", "mean_difference",
           "parity_operator"]  # fmt: skip
