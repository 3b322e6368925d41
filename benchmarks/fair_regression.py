"""How long mean-parity regression takes against the number of rows, by each of its ways, and what Nystroem costs.

    python benchmarks/fair_regression.py --out results/benchmark/fair_regression.csv

Rows are drawn from Adult (`bdlib.data.tables`). Each time is the shortest of three fits, which is least affected by
other load; a fit of more than ten seconds is made once. `gap` is the root mean square of what an approximation changes
in the predictions for 2,000 test rows, in standard deviations of the target.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bdlib.fairness.mean_parity import MeanParityRegressor
from bdlib.fairness.parity import mean_difference
from bdlib.fairness.split import split_table
from bdlib.files import write_whole

TEST = 2000
ROWS = (500, 1000, 2000, 4000, 8000, 20000)
WAYS = {  # the settings of each way, and the most rows that it is timed on
    "null space": ({"form": "null_space"}, 2000),
    "one solve": ({}, 8000),
    "Nystroem, 200 components": ({"components": 200}, 20000),
    "Nystroem, 1000 components": ({"components": 1000}, 20000),
}


def fitted(settings, train):
    """A fitted regressor, and the seconds of the fit."""
    seconds, regressor = [], MeanParityRegressor(gamma=0.1, **settings)
    for _ in range(3):
        start = time.perf_counter()
        regressor.fit(train.X, train.y, sensitive_features=train.sensitive)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] > 10:
            break
    return regressor, min(seconds)


def measured(rows):
    """A row of the table for each way that bears so many rows."""
    train, test = split_table("adult", rows=rows + TEST, test_share=TEST / (rows + TEST))
    predictions, found = {}, []
    for way, (settings, most) in WAYS.items():
        if rows <= most:
            regressor, seconds = fitted(settings, train)
            predictions[way] = regressor.predict(test.X)
            gap = np.nan
            if "one solve" in predictions:
                gap = np.sqrt(np.mean((predictions[way] - predictions["one solve"]) ** 2))
            error, smd = (
                np.mean((predictions[way] - test.y) ** 2),
                mean_difference(regressor.predict(train.X), train.codes),
            )
            found.append([way, len(train.y), seconds, gap, error, smd])
            print(*found[-1], flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    options = parser.parse_args()
    columns = ["way", "rows", "seconds", "gap", "mse_test", "smd_train"]
    table = pd.DataFrame([line for rows in options.rows for line in measured(rows)], columns=columns)
    write_whole(options.out, table.to_csv(index=False, float_format="%.6g").encode())


if __name__ == "__main__":
    main()
