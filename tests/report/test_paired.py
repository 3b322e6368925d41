"""An attacker's gains, paired by seed: the differences, and the words for them."""

import pandas as pd
import pytest

from bdlib.report import figures, plots
from bdlib.report.paired import ladder, lead, leads, outcome


@pytest.fixture
def runs():
    """At rate 1, LPS is ahead by about 20 points on each of four seeds; at rate 2 by as much as it is behind."""
    rows = []
    for rate, gains in ((1, (0.20, 0.22, 0.18, 0.20)), (2, (0.3, -0.3, 0.2, -0.2))):
        for seed, gain in enumerate(gains):
            base = 0.4 + 0.05 * seed  # seeds differ by more than methods: only pairing sees through it
            rows.append({"rate": rate, "seed": seed, "method": "random", "asr_after": base})
            rows.append({"rate": rate, "seed": seed, "method": "LPS", "asr_after": base + gain})
    table = pd.DataFrame(rows)
    return table.assign(clean_accuracy_after=0.8)


def test_differences_are_taken_seed_by_seed(runs):
    gaps = lead(runs, "LPS", "random", by="rate")
    assert gaps["mean"].tolist() == pytest.approx([0.2, 0.0]) and gaps["seeds"].tolist() == [4, 4]
    deviation = (2 * 0.02**2 / 3) ** 0.5
    assert gaps.loc[1, "low"] == pytest.approx(0.2 - 3.182446 * deviation / 2)
    assert [outcome(row) for _, row in gaps.iterrows()] == ["higher", "undecided"]
    assert outcome(lead(runs, "random", "LPS", by="rate").loc[1]) == "lower"


def test_a_seed_without_its_partner_does_not_count(runs):
    alone = runs[~((runs["method"] == "random") & (runs["seed"] == 0))]
    assert lead(alone, "LPS", "random", by="rate")["seeds"].tolist() == [3, 3]


def test_the_sentences_say_the_outcome(runs):
    text = leads(runs, method="LPS", control="random", by="rate", what="rates")
    assert "beyond doubt for 1 of 2 rates, a lower one for 0." in text
    assert "- **1**: higher. ASR, LPS minus random: 20.0 [" in text and "- **2**: undecided." in text
    assert "ACC: 0.0 [0.0, 0.0] points (4 paired seeds)" in text
    table = ladder(runs, control="random", by="rate")
    assert list(table.index) == ["LPS"] and table.loc["LPS", 1].endswith("], higher")


def test_without_records_it_says_so(runs):
    empty = runs.iloc[:0]
    assert leads(empty, method="LPS", control="random", by="rate", what="rates").startswith("No seed has records")
    assert ladder(empty, control="random", by="rate").empty


def test_shares_make_few_and_many_comparable():
    content = {"": {"many": [0.0] * 30 + [1.0] * 10, "few": [0.0, 1.0]}}
    for shares, heights in ((False, [30, 10, 1, 1]), (True, [75, 25, 50, 50])):
        axes = plots.histograms(content, x="loss", bins=2, shares=shares).axes[0]
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(heights)


def test_random_selection_fus_and_lps_differ_in_colour_and_mark():
    names = ["random", "FUS", "LPS"]
    assert len({figures.color(n) for n in names}) == len({figures.marker(n) for n in names}) == 3
    assert plots.colors(names) == {n: figures.color(n) for n in names}
