"""The figures, tables and sentences of fair regression, on runs made up here, and on none."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bdlib.report import regression


def runs(**more):
    """Two methods on two tables and three splits; mean parity has no SMD on training rows and an MSE 0.1 higher."""
    rows = []
    for table, unfair in (("a", 0.4), ("b", 0.8)):
        for seed in range(3):
            scores = {"mse_train": 0.5, "mse_test": 0.6 + 0.01 * seed, "smd_train": unfair, "smd_test": unfair}
            rows.append({"method": "kernel ridge", "table": table, "seed": seed, **scores, **more})
            fair = {"mse_train": 0.6, "mse_test": 0.7 + 0.01 * seed, "smd_train": 1e-15, "smd_test": 0.1}
            rows.append({"method": "mean parity", "table": table, "seed": seed, **fair, **more})
    return pd.DataFrame(rows)


def test_the_sentences_give_the_price_and_the_paired_differences():
    words = regression.price_sentences(runs(), method="mean parity", free="kernel ridge", others=["kernel ridge"])
    assert "**a**: on test rows, SMD 0.40 without the constraint and 0.10 with it; MSE 0.61 and 0.71" in words
    assert "On training rows the SMD is 1e-15." in words
    assert "*mean parity* minus *kernel ridge*, MSE on test rows, paired by split: a 0.100 [0.100, 0.100]; b" in words
    none = regression.price_sentences(runs().iloc[:0], method="mean parity", free="kernel ridge", others=[])
    assert none == "No record of these runs yet."


def test_the_table_keeps_together_what_the_first_column_names():
    table = regression.splits_table(runs())
    assert table.index.get_level_values(0).tolist() == ["a", "a", "b", "b"]
    assert table.loc[("a", "mean parity"), "MSE, test"].replace("\u00a0", " ") == "0.71 ± 0.02"


def test_two_paths_are_compared_at_equal_unfairness():
    line = [(0.0, 0.8), (2.0, 0.4)]
    rows = [{"method": method, "seed": seed, "smd_train": smd, "mse_train": mse + extra}
            for method, extra in (("ours", 0.0), ("FKR", 0.05)) for seed in range(3) for smd, mse in line]  # fmt: skip
    words = regression.at_equal_unfairness(pd.DataFrame(rows), method="ours", other="FKR", smd=1.0)
    assert "the MSE of *ours* minus that of *FKR* is -0.050 [-0.050, -0.050], over 3 splits" in words


def test_how_long_each_way_takes_is_said():
    times = pd.DataFrame([["exact", 100, 1.0, 0.0], ["exact", 200, 8.0, 0.0], ["low", 200, 0.5, 0.02],
                          ["low", 900, 2.0, None]], columns=["way", "rows", "seconds", "gap"])  # fmt: skip
    lines = regression.size_sentences(times).splitlines()
    assert lines[0] == "- exact: 8 s for 200 training rows."
    assert lines[1].startswith("- low: 2 s for 900 training rows; at 200 rows its test predictions differ")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("some", [runs(eta=10.0), runs(eta=10.0).iloc[:0]], ids=["runs", "none"])
def test_every_figure_is_drawn_of_runs_and_of_none(some):
    path = pd.concat([some, some.assign(eta=100.0)])
    assert regression.split_boxes(some).axes and regression.measures_along(path, "eta", "penalty", log=True).axes
    assert len(regression.trade_off(path, some).axes) == 2
    plt.close("all")
