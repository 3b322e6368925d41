"""Methods compared seed by seed: the differences, and the intervals that hold together."""

import pandas as pd
import pytest

from bdlib.report.paired import differences, findings_table, gains_table, outcome


def test_differences_are_taken_seed_by_seed(gains):
    gaps = differences(gains, "LPS", "random", by="rate")
    assert gaps["mean"].tolist() == pytest.approx([0.2, 0.0]) and gaps["seeds"].tolist() == [4, 4]
    deviation = (2 * 0.02**2 / 3) ** 0.5
    assert gaps.loc[1, "low"] == pytest.approx(0.2 - 4.176535 * deviation / 2)  # t at 97.5 %: two rates
    assert [outcome(row) for _, row in gaps.iterrows()] == ["higher", "undecided"]
    assert outcome(differences(gains, "random", "LPS", by="rate").loc[1]) == "lower"


def test_differences_of_shares_end_at_one(gains):
    far = gains.assign(asr_after=[0.0, 1.0] * 3 + [0.5, 0.5] * 5)
    assert differences(far, "LPS", "random", by="rate").loc[1, "high"] == 1
    assert differences(far.assign(drift=far["asr_after"]), "LPS", "random", by="rate", score="drift").loc[1, "high"] > 1


def test_a_seed_without_its_partner_does_not_count(gains):
    alone = gains[~((gains["method"] == "random") & (gains["seed"] == 0))]
    assert differences(alone, "LPS", "random", by="rate")["seeds"].tolist() == [3, 3]


def test_gains_over_a_control(gains):
    table = gains_table(gains, control="random", by="rate")
    assert list(table.index) == ["LPS"] and table.loc["LPS", "rate 1"].endswith("], higher")
    assert gains_table(gains.iloc[:0], control="random", by="rate").empty


def test_the_headline_of_several_methods(three, runs_of):
    table = findings_table({"NAD": three, "ANP": three}, control="fine-tuning")
    assert table.values.tolist() == [
        ["NAD", "BadNets", "91.0 / 99.0", "85.0 / 61.0", "85.0 / 2.3", "NAD", 3],
        ["ANP", "BadNets", "91.0 / 99.0", "85.0 / 61.0", "85.0 / 50.0", "undecided", 3],
    ]
    worse = pd.concat([runs_of("NAD", (0.9, 0.91, 0.92)), runs_of("fine-tuning", (0.1, 0.1, 0.1))])
    assert findings_table({"NAD": worse}, control="fine-tuning")["lower ASR"].tolist() == ["fine-tuning"]
    assert findings_table({"NAD": three.iloc[:0]}, control="fine-tuning").empty
