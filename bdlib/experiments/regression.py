"""The runs of the chapter on fair regression: a table, a split and an estimator, in place of a victim and a defense."""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from bdlib import ranges
from bdlib.checks import CheckedFields, OneOf, ParameterError
from bdlib.data import tables
from bdlib.fairness import mean_parity
from bdlib.fairness.baselines import ESTIMATORS
from bdlib.fairness.mean_parity import Components, Gamma, Kernel, MeanParityRegressor, Penalty, Ridge
from bdlib.fairness.split import Part, Rows, TestShare, scores, split_table

NUMBERS_VERSION = 1  # raise it when a change here or in `fairness.split` changes a number
NEED_FAIRLEARN = ("correlation_remover", "reduction")
FORMS_ROWS = 500  # training rows up to which both closed forms are compared; the null-space form takes n^3 often


@dataclass(frozen=True)
class RegressionConfig(CheckedFields):
    """Everything that decides the numbers of a run. Field names are the notebook's parameters.

    Raises ParameterError, in one line, for a value out of its range.

    Example: ``RegressionConfig(estimator="fkr", eta=1000.0).measure()["smd_test"]``
    """

    table: Annotated[str, OneOf(tables.TABLES)] = "diabetes"
    rows: Rows = 2000  # drawn from the table, at most
    attributes: Annotated[int, Field(ge=1, le=4)] = 1  # sensitive attributes; groups are their combinations
    estimator: Annotated[str, OneOf(ESTIMATORS)] = "mean_parity"
    kernel: Kernel = "rbf"
    gamma: Gamma = 0.1
    alpha: Ridge = 1.0
    eta: Penalty = None  # None: exact parity
    parity: Literal["mean", "covariance"] = "mean"
    components: Components = None  # rank of the Nystroem approximation; None for none
    test_share: TestShare = 0.2
    seed: ranges.Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator == "fkr" and self.eta is None:
            raise ParameterError("eta=None: must be a number for the estimator fkr, which has no exact form")

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "RegressionConfig":
        """The part of a notebook's parameters that decides numbers: all but where the record goes."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls) if field.name in parameters})

    @staticmethod
    def record_name(parameters: dict[str, Any]) -> str:
        """What the file of a run's record begins with."""
        return f"{parameters['table']}-{parameters['estimator']}"

    @property
    def settings(self) -> dict[str, Any]:
        """The keywords of the estimator."""
        names = ("kernel", "gamma", "alpha", "eta", "parity", "components")
        return {name: getattr(self, name) for name in names}

    @staticmethod
    def versions() -> dict[str, int]:
        """The NUMBERS_VERSION of each part that decides the numbers."""
        parts = {"tables": tables, "fairness": mean_parity}
        return {name: part.NUMBERS_VERSION for name, part in parts.items()} | {"regression": NUMBERS_VERSION}

    def split(self) -> tuple[Part, Part]:
        """Training and test rows of the run's split."""
        return split_table(self.table, rows=self.rows, attributes=self.attributes, test_share=self.test_share,
                           seed=self.seed)  # fmt: skip

    def measure(self) -> dict[str, float]:
        """Fit the estimator and score it: `scores`, and the largest gap between the two closed forms.

        `forms_gap`, in units of the target's standard deviation, is there for exact parity on few rows; `nystroem_gap`,
        the root mean square of what the approximation changes in the test predictions, where there is one.
        """
        if self.estimator in NEED_FAIRLEARN and find_spec("fairlearn") is None:
            raise ParameterError(f"estimator={self.estimator!r}: needs fairlearn: pip install 'bdlib[run]'")
        train, test = self.split()
        predict = ESTIMATORS[self.estimator](train.X, train.y, train.sensitive, **self.settings)
        found = {"groups": float(len(np.unique(train.codes))), "train_rows": float(len(train.y))}
        found |= scores(predict, train, test)
        if self.estimator == "mean_parity" and self.components:
            exact = self._fitted(train, components=None).predict(test.X)
            found["nystroem_gap"] = float(np.sqrt(np.mean((exact - predict(test.X, test.sensitive)) ** 2)))
        elif self.estimator == "mean_parity" and self.eta is None and len(train.y) <= FORMS_ROWS:
            other = self._fitted(train, form="null_space").predict(test.X)
            found["forms_gap"] = float(np.abs(other - predict(test.X, test.sensitive)).max())
        return found

    def _fitted(self, train: Part, **changes: Any) -> MeanParityRegressor:
        regressor = MeanParityRegressor(**(self.settings | changes))
        return regressor.fit(train.X, train.y, sensitive_features=train.sensitive)


WITHOUT_VICTIM: dict[str, type[RegressionConfig]] = {"mp_fair": RegressionConfig}  # pages whose runs attack nothing
