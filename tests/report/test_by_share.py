"""Lines over shares of filters, out of the columns that records measured."""

import pandas as pd

from bdlib.report.by_share import over_shares


def test_the_columns_of_one_order_and_score_make_a_line_of_means():
    runs = pd.DataFrame({"random_0.1_asr": [0.5, 0.7], "random_0.02_asr": [1.0, 1.0], "zeroed_0.1_asr": [0.0, 0.0],
                         "random_0.1_accuracy": [0.8, 0.8], "random_kept_asr": [0.3, 0.3]})  # fmt: skip
    assert over_shares(runs, "random", "asr") == ([2.0, 10.0], [100.0, 60.0])
    assert over_shares(runs, "random", "ra") == ([], []) == over_shares(pd.DataFrame(), "random", "asr")
