"""One random split of a table, scaled by its training rows, and what an estimator makes of it."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from sklearn.model_selection import train_test_split

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.tables import Table, load_table
from bdlib.fairness.baselines import Predict
from bdlib.fairness.parity import Array, group_codes, largest_covariance, mean_difference

Rows = Annotated[int, Field(ge=50, le=50000)]
TestShare = Annotated[float, Field(ge=0.05, le=0.9)]
CONSTANT = 1e-9  # a standard deviation that is rounding


@dataclass(frozen=True)
class Part:
    """Rows of a table: X (n, features), y (n,), sensitive 0/1 attributes (n, attributes), group codes (n,)."""

    X: Array
    y: Array
    sensitive: Array
    codes: np.ndarray


@checked
def split_table(
    table: str, *,
    rows: Rows = 2000, attributes: Annotated[int, Field(ge=1)] = 1, test_share: TestShare = 0.2, seed: ranges.Seed = 0,
) -> tuple[Part, Part]:  # fmt: skip
    """Training and test rows out of at most `rows` drawn ones, by one seeded shuffle.

    Every feature is scaled to a range of one on the training rows and centered there; the target is in units of its
    training standard deviation, so that the constant prediction has a training error of 1 in every table. Groups are
    the combinations of the first `attributes` sensitive attributes, numbered alike in both parts.

    Example: ``train, test = split_table("diabetes", attributes=2, seed=3)``

    Raises ParameterError for more attributes than the table has, DataError where its file is missing.
    """
    whole = load_table(table)
    if attributes > (known := whole.sensitive.shape[1]):
        names = ", ".join(whole.sensitive.columns)
        raise ParameterError(f"attributes={attributes}: must be from 1 to {known} for {table}, which has {names}")
    drawn = np.random.default_rng(seed).permutation(len(whole.target))[:rows]
    train, test = train_test_split(drawn, test_size=test_share, random_state=seed)
    return _scaled(whole, train, test, attributes)


def _scaled(whole: Table, train: np.ndarray, test: np.ndarray, attributes: int) -> tuple[Part, Part]:
    values, target = whole.features.to_numpy(np.float64), whole.target.to_numpy(np.float64)
    sensitive = whole.sensitive.iloc[:, :attributes].to_numpy(np.float64)
    codes = group_codes(sensitive)
    center, spread = values[train].mean(axis=0), np.ptp(values[train], axis=0)
    unit = target[train].std()
    scaled = (values - center) / np.where(spread > 0, spread, 1.0)
    train_part, test_part = (Part(scaled[i], target[i] / unit, sensitive[i], codes[i]) for i in (train, test))
    return train_part, test_part


def scores(predict: Predict, train: Part, test: Part) -> dict[str, float]:
    """MSE, SMD and covariance on both parts: `mse_train`, `smd_test` and so on, and the spread inside groups.

    MSE is in units of the target's training variance, SMD and `cov` (the largest absolute covariance with an attribute)
    in its standard deviation. `spread_ratio_test` is the largest over the smallest standard deviation of the
    predictions of a group: mean parity does not make it 1. It is left out where a group's predictions are constant.
    """
    found = {}
    for name, part in (("train", train), ("test", test)):
        predictions = predict(part.X, part.sensitive)
        found[f"mse_{name}"] = float(np.mean((predictions - part.y) ** 2))
        found[f"smd_{name}"] = mean_difference(predictions, part.codes)
        found[f"cov_{name}"] = largest_covariance(predictions, part.sensitive)
    spreads = [float(predictions[part.codes == group].std()) for group in np.unique(part.codes)]
    if min(spreads) > CONSTANT:
        found["spread_ratio_test"] = max(spreads) / min(spreads)
    return found
