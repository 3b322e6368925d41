"""Sentences follow the records: an outcome is named only where an interval excludes zero."""

import pandas as pd
import pytest

from bdlib.report import paired, sentences


@pytest.fixture
def runs(runs_of):
    """NAD's ASR is that of fine-tuning, one half, plus a gap for each seed."""

    def make(*gaps):
        return pd.concat([runs_of("NAD", [0.5 + gap for gap in gaps]), runs_of("fine-tuning", [0.5] * 3)])

    return make


def test_findings_name_an_outcome_only_where_the_interval_excludes_zero(runs):
    both = {"method": "NAD", "control": "fine-tuning"}
    better = sentences.findings(runs(-0.3, -0.31, -0.29), **both)
    assert "**NAD** removes more" in better
    assert "NAD has a lower ASR than fine-tuning on the one attack that was run with both: the interval" in better
    assert "ASR, NAD minus fine-tuning: -30.0 [-32.5, -27.5] points; ACC: 0.0 [0.0, 0.0] points (3 paired" in better
    assert "**fine-tuning** removes more" in sentences.findings(runs(0.3, 0.31, 0.29), **both)
    doubtful = sentences.findings(runs(-0.3, 0.31, -0.1), **both)
    assert "neither NAD nor fine-tuning is shown to have the lower ASR on the one attack" in doubtful
    alone = runs(-0.3, 0.31, -0.1).query("seed == 0")
    assert "(1 paired seed)." in sentences.findings(alone, **both)


def test_a_control_whose_name_begins_with_the_methods_is_not_taken_for_it(runs):
    table = runs(0.3, 0.31, 0.29).replace({"method": {"fine-tuning": "NAD, random"}})
    text = sentences.findings(table, method="NAD", control="NAD, random")
    assert "**NAD, random** removes more" in text and "NAD has a higher ASR than NAD, random on the one" in text


def test_gains_of_an_attacker(gains):
    text = sentences.gains(gains, method="LPS", control="random", by="rate", groups="rates")
    assert text.startswith(
        "Paired over seeds, LPS has a higher ASR than random for 1 of 2 rates and a lower one for 0:"
    )
    assert "excludes zero. The intervals hold together at 95 %." in text
    assert "- **rate 1**: higher. ASR, LPS minus random: 20.0 [" in text and "- **rate 2**: undecided." in text
    assert "ACC: 0.0 [0.0, 0.0] points (4 paired seeds)" in text


def test_without_records_they_say_so(runs, gains):
    none, both = runs(0, 0, 0).iloc[:0], {"method": "NAD", "control": "fine-tuning"}
    assert sentences.findings(none, **both).startswith("No record of NAD")
    assert sentences.findings(runs(0, 0, 0).iloc[:3], **both).startswith("No seed has records of both NAD and fine")
    assert sentences.gains(none, **both, by="attack", groups="attacks").startswith("No seed has records")
    assert sentences.remaining_asr(none, method="NAD").startswith("No record of NAD")
    assert sentences.same_scores(none, "NAD", "fine-tuning").startswith("No records of both")
    assert sentences.difference(none, "a", "b", names=("this", "that")).startswith("No record has measured")
    assert sentences.quotient(none, "a", "b", name="this") == "No record has measured this at this profile yet."


def test_parts_that_show_leave_more_without_them(runs_of):
    table = pd.concat([runs_of("SAU", [0.2, 0.21, 0.22]), runs_of("plain", [0.9, 0.91, 0.92]),
                       runs_of("no sharing", [0.22, 0.2, 0.21])])  # fmt: skip
    text = sentences.parts_that_show(table, method="SAU", without=["no sharing"])
    assert text.startswith("Mean ASR left: *SAU* 21.0 %, *no sharing* 21.0 %. *SAU* minus each of the others, in ")
    assert text.endswith("no interval is below zero, so none of these parts of SAU shows in the ASR.")
    both = sentences.parts_that_show(table, method="SAU", without=["no sharing", "plain"])
    assert both.endswith("the interval is below zero, so that the part shows, for *plain*.")
    assert sentences.parts_that_show(table.iloc[:0], method="SAU", without=[]).startswith("No record of SAU")


def test_the_smallest_difference_is_half_of_the_interval(gains):
    text = sentences.smallest_difference(gains, "LPS", "random", by="rate")
    row = paired.differences(gains, "LPS", "random", by="rate").loc[1]
    assert f"each side: {100 * (row['high'] - row['low']) / 2:.1f} points with 4 paired seeds (rate 1), " in text
    assert sentences.smallest_difference(gains.iloc[:0], "LPS", "random", by="rate").startswith("No two seeds")


def test_other_sentences(runs):
    assert sentences.remaining_asr(runs(0.1, 0.0, 0.05), method="NAD") == "Mean ASR that NAD leaves: BadNets 55.0 %."
    assert "the same ACC" in sentences.same_scores(runs(0, 0, 0), "NAD", "fine-tuning")
    assert "up to 30.0 points" in sentences.same_scores(runs(0.3, 0, 0), "NAD", "fine-tuning")
    measured = runs(0, 0, 0).assign(high=[0.5, 0.6, 0.7, None, None, None], low=0.1)
    assert sentences.difference(measured, "high", "low", names=("the one", "the other")) == (
        "**The one** minus **the other**, in points: BadNets 50.0 [25.2, 74.8]; the interval excludes zero on 1 of 1 "
        "attack: 1 higher, 0 lower."
    )
    one = sentences.difference(measured[measured["seed"] == 0], "high", "low", names=("the one", "the other"))
    assert one == "**The one** minus **the other**, in points: BadNets 40.0; one seed has no interval."
    assert sentences.quotient(measured, "high", "low", name="growth") == (
        "**growth**: BadNets 6.00 [3.52, 8.48]; the interval is below one on 0 of 1 attack, above one on 1."
    )
    assert sentences.difference(measured, "high", "low", names=("what AR marks", "b")).startswith(
        "**What AR marks** minus"
    )
