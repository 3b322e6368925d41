"""Verdicts on small tables of runs."""

import pytest

STEADY, WILD, HIGH = (0.01, 0.02, 0.03), (0.0, 0.0, 0.2), (0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("rows", "groups", "verdict"),
    [
        ([("a", "NAD", *STEADY)], ["yes"], "reproduced"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *STEADY)], ["yes", "yes"], "reproduced"),
        ([("a", "NAD", *WILD)], ["leaning"], "partly"),
        ([("a", "NAD", *HIGH)], ["no"], "not reproduced"),
        ([("a", "NAD", *HIGH), ("b", "NAD", *HIGH)], ["no", "no"], "not reproduced"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *HIGH)], ["yes", "no"], "partly"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *WILD)], ["yes", "leaning"], "partly"),
        ([("a", "NAD", *HIGH), ("b", "NAD", *WILD)], ["no", "leaning"], "partly"),
        ([("a", "NAD", 0.01)], ["leaning"], "partly"),  # one seed proves nothing
        ([("a", "NAD", 0.5)], ["no"], "not reproduced"),
        ([("a", "fine-tuning", *STEADY)], [], "not run"),
        ([], [], "not run"),
    ],
)
def test_every_verdict(judged, rows, groups, verdict):
    judgment = judged(*rows)
    assert [group.verdict for group in judgment.groups] == groups and judgment.verdict == verdict


@pytest.mark.parametrize(
    ("expected", "tolerance", "verdict"),
    [
        ("below 0.5", 0, "not reproduced"),  # equal is not below
        ("below 0.5", 0.01, "reproduced"),
        ("below 0.49", 0.01, "not reproduced"),
        ("above 0.5", 0, "not reproduced"),
        ("above 0.51", 0.02, "reproduced"),
        ("above 0.51", 0.01, "not reproduced"),
        ("equal 0.5", 0, "reproduced"),
        ("equal 0.6", 0.1, "reproduced"),
        ("equal 0.6", 0.09, "not reproduced"),
        ("below -0.1", 0, "not reproduced"),
    ],
)
def test_bounds_and_tolerance(judged, expected, tolerance, verdict):
    assert judged(("a", "NAD", 0.5, 0.5), expected=expected, tolerance=tolerance).verdict == verdict


def test_the_interval_decides_and_is_students(judged):
    group = judged(("a", "NAD", 0.1, 0.2, 0.3)).groups[0]
    assert (group.mean, group.seeds) == (pytest.approx(0.2), 3)
    assert group.high == pytest.approx(0.2 + 4.302653 * 0.1 / 3**0.5, abs=1e-5)
    assert group.low == 0  # a share, whatever the formula says
    lead = {"versus": {"metric": "ra", "method": "victim"}, "how": "difference"}
    assert judged(("a", "NAD", 0.1, 0.2, 0.3), **lead).groups[0].low < 0


def test_values_are_shown_in_their_unit(judged):
    assert judged(("a", "NAD", 0.5, 0.5)).measured == ["a 50.0 [50.0, 50.0]"]
    assert judged(("a", "NAD", 0.5)).measured == ["a 50.0 (one seed)"]
    assert judged(("a", "NAD", 0.5, 0.5), unit="number").measured == ["a 0.5 [0.5, 0.5]"]
    mixed = judged(("a", "NAD", *STEADY), ("b", "NAD", *HIGH)).measured
    assert mixed[0].endswith("(yes)") and mixed[1].endswith("(no)")
