"""Verdicts on small tables of runs."""

from itertools import chain, product

import pytest

from bdlib.claims.verdicts import judge, verdict
from bdlib.experiments import studies

STEADY, WILD, HIGH = (0.01, 0.02, 0.03), (0.0, 0.0, 0.2), (0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("rows", "answers", "verdict"),
    [
        ([("a", "NAD", *STEADY)], ["yes"], "reproduced"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *STEADY)], ["yes", "yes"], "reproduced"),
        ([("a", "NAD", *WILD)], ["undecided"], "undecided"),
        ([("a", "NAD", *HIGH)], ["no"], "not reproduced"),
        ([("a", "NAD", *HIGH), ("b", "NAD", *HIGH)], ["no", "no"], "not reproduced"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *HIGH)], ["yes", "no"], "partly"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *HIGH), ("c", "NAD", *WILD)], ["yes", "no", "undecided"], "partly"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *WILD)], ["yes", "undecided"], "undecided"),
        ([("a", "NAD", *HIGH), ("b", "NAD", *WILD)], ["no", "undecided"], "undecided"),
        ([("a", "NAD", 0.01)], ["undecided"], "undecided"),  # one seed proves nothing
        ([("a", "NAD", 0.5)], ["undecided"], "undecided"),
        ([("a", "fine-tuning", *STEADY)], [], "not run"),
        ([], [], "not run"),
    ],
)
def test_every_verdict(judged, rows, answers, verdict):
    judgment = judged(*rows)
    assert [group.answer for group in judgment.groups] == answers and judgment.verdict == verdict


def test_a_planned_group_without_a_run_leaves_the_verdict_open(claim, runs_of, monkeypatch):
    """Of NAD's four attacks two were run, and both say yes; a verdict that no group can change stays."""
    two = [("badnets", "NAD", *STEADY), ("blended", "NAD", *STEADY)]
    monkeypatch.setattr(studies, "load_study", lambda *_: runs_of(*two))
    judgment = judge(claim(), "quick")
    assert judgment.verdict == "undecided" and judgment.measured[0].endswith("(yes)")
    assert judgment.measured[2:] == ["not run: low-frequency, SIG"]
    every = [*two, ("low_frequency", "NAD", *STEADY), ("sig", "NAD", *STEADY)]
    monkeypatch.setattr(studies, "load_study", lambda *_: runs_of(*every))
    assert judge(claim(), "quick").verdict == "reproduced"
    monkeypatch.setattr(studies, "load_study", lambda *_: runs_of(two[0], ("blended", "NAD", *HIGH)))
    assert judge(claim(), "quick").verdict == "partly"
    monkeypatch.setattr(studies, "load_study", lambda *_: runs_of(*two))
    unmet = {"method": "victim", "expected": "above 2", "reason": "There is a backdoor"}
    weak = claim(premise=unmet)  # no run meets it; those of the other two attacks might
    assert judge(weak, "quick").verdict == "undecided"


def test_a_verdict_is_what_the_undecided_groups_cannot_change():
    """Whatever the answers: if each undecided one turned into yes or no, a known verdict would stay as it is."""
    for answers in chain(*(product(("yes", "no", "undecided", "not testable"), repeat=n) for n in range(1, 5))):
        places = [i for i, answer in enumerate(answers) if answer == "undecided"]
        futures = set()
        for turned in product(("yes", "no"), repeat=len(places)):
            later = dict(zip(places, turned, strict=True))
            futures.add(verdict([later.get(i, answer) for i, answer in enumerate(answers)]))
        assert verdict(list(answers)) == (futures.pop() if len(futures) == 1 else "undecided")
    assert verdict(["not testable"] * 2) == "not testable" and verdict(["not testable", "yes"]) == "reproduced"
    assert verdict(["yes", "no"]) == "partly" and verdict([]) == "not run"


def test_intervals_are_widened_where_groups_differ(judged):
    """Groups that agree passed one by one; where they do not, their intervals hold together."""
    near = (0.0, 0.02, 0.04)  # below 0.1 at 95 %, not at 98.3 %
    agreed = judged(("a", "NAD", *near), ("b", "NAD", *near), ("c", "NAD", *near))
    mixed = judged(("a", "NAD", *near), ("b", "NAD", *near), ("c", "NAD", *HIGH))
    assert agreed.verdict == "reproduced" and mixed.verdict == "undecided"
    half = 0.02 / 3**0.5
    assert agreed.groups[0].high == pytest.approx(0.02 + 4.302653 * half)
    assert mixed.groups[0].high == pytest.approx(0.02 + 7.648804 * half)  # t of two degrees of freedom at 1 - 0.05 / 6


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
        ("equal 0.4", 0.05, "not reproduced"),
    ],
)
def test_bounds_and_tolerance(judged, expected, tolerance, verdict):
    assert judged(("a", "NAD", 0.5, 0.5), expected=expected, tolerance=tolerance).verdict == verdict


def test_the_interval_decides_and_is_students(judged):
    group = judged(("a", "NAD", 0.1, 0.2, 0.3)).groups[0]
    assert (group.mean, group.seeds) == (pytest.approx(0.2), 3)
    assert group.high == pytest.approx(0.2 + 4.302653 * 0.1 / 3**0.5, abs=1e-5)
    assert group.low == 0  # a share, whatever the formula says


def test_a_measured_correlation_ends_at_one_and_a_number_is_set_off_from_its_mean(judged, runs_of):
    runs = runs_of(("a", "NAD", 0.1, 0.2, 0.3)).assign(rank_correlation=[0.0, 0.5, 1.0], gamma=0.5)
    group = judged(runs=runs, metric="rank_correlation").groups[0]
    assert (group.low, group.high) == (pytest.approx(-0.742, abs=1e-3), 1)
    columns = [*runs.columns[:1], "gamma", *[name for name in runs.columns[1:] if name != "gamma"]]
    assert judged(runs=runs[columns], each="gamma").measured[0].startswith("gamma 0.5: 20.0 [")


def test_intervals_end_where_shares_and_their_differences_end(judged, runs_of):
    far = ("a", "NAD", 0.0, 0.5, 1.0)
    assert (judged(far).groups[0].low, judged(far).groups[0].high) == (0, 1)
    gap = judged(far, ("a", "fine-tuning", 1.0, 0.5, 0.0), versus="fine-tuning", how="difference").groups[0]
    assert (gap.low, gap.high) == (-1, 1)
    removed = judged(far, method="victim", versus="NAD", how="difference").groups[0]
    assert (removed.low, removed.high) == (0, 1)  # of the victim's ASR, which is one
    lost = judged(far, metric="acc", method="victim", versus={"metric": "asr", "method": "NAD"}, how="difference")
    assert (lost.groups[0].low, lost.groups[0].high) == (pytest.approx(-0.1), pytest.approx(0.9))  # the victim's ACC
    assert judged(far, ("a", "fine-tuning", 0.1, 0.9, 0.9), versus="fine-tuning", how="ratio").groups[0].low == 0
    left = judged(far, versus="victim", how="ratio").groups[0]  # a part of the victim's ASR, which is one
    assert (left.low, left.high) == (0, 1)
    alone = judged(far, method="victim", expected="above 0.5").groups[0]  # victims have an interval of their own
    assert (alone.low, alone.high) == (1, 1)
    runs = runs_of(far).assign(asr_before=[0.2, 0.5, 0.8])
    assert judged(runs=runs, method="victim").groups[0].low < 0.2
    between = judged(runs=runs, method="victim", versus={"metric": "acc"}, how="difference").groups[0]
    assert between.low < -0.7 and between.high > -0.1  # 0.2 to 0.8, less 0.9
    runs = runs_of(far, drift=[0.0, 0.5, 1.0])
    assert judged(runs=runs, metric="drift").groups[0].low < 0
    assert judged(runs=runs, metric="drift", unit="share").groups[0].low == 0


@pytest.mark.parametrize(("premise", "answers", "verdict"), [
    ({"method": "victim", "expected": "above 0.9"}, ["yes", "no"], "partly"),
    ({"expected": "below 0.3"}, ["yes", "not testable"], "reproduced"),  # high is above 0.3
    ({"expected": "below 0.01"}, ["not testable"] * 2, "not testable"),
    ({"versus": "victim", "expected": "below -0.9"}, ["yes", "not testable"], "reproduced"),
    ({"where": {"attack": "b"}, "expected": "below 0.3"}, ["not testable"] * 2, "not testable"),  # b decides for all
    ({"where": {"attack": "a"}, "expected": "below 0.3"}, ["yes", "no"], "partly"),
    ({"method": "fine-tuning", "expected": "above 0"}, ["not testable"] * 2, "not testable"),  # nothing is known
])  # fmt: skip
def test_a_claim_whose_premise_does_not_hold_is_not_testable(judged, premise, answers, verdict):
    rows = [("a", "NAD", *STEADY), ("b", "NAD", *HIGH)]
    judgment = judged(*rows, premise=premise | {"reason": "There is something to see."})
    assert [group.answer for group in judgment.groups] == answers and judgment.verdict == verdict
    untested = "not testable" in answers
    assert (judgment.measured[-1] == "premise not met: There is something to see") == untested


def test_what_fails_a_premise_is_shown(judged):
    shown = judged(("b", "NAD", *HIGH), premise={"expected": "below 0.3", "reason": "It is low."}).measured
    assert shown[0].endswith("; ASR of NAD is 60.0, not below 30 %") and shown[1] == "premise not met: It is low"
    on_sig = {"where": {"attack": "sig"}, "expected": "below 0.3", "reason": "It is low."}
    shown = judged(("sig", "NAD", *HIGH), premise=on_sig).measured
    assert shown[0].endswith("; ASR of NAD (SIG) is 60.0, not below 30 %")


@pytest.mark.parametrize(("floor", "answers"), [
    ({"expected": "above 0.75"}, ["yes", "no"]),
    ({"expected": "above 0.85"}, ["no", "no"]),  # the accuracy is 0.8
    ({"versus": "victim", "expected": "above -0.11"}, ["yes", "no"]),
    ({"versus": "victim", "expected": "above -0.09"}, ["no", "no"]),
    ({"metric": "ra", "expected": "above 0.5"}, ["yes", "no"]),
])  # fmt: skip
def test_a_network_below_the_floor_cannot_say_yes(judged, floor, answers):
    judgment = judged(("a", "NAD", *STEADY), ("b", "NAD", *HIGH), floor=floor)
    assert [group.answer for group in judgment.groups] == answers
    assert ("ACC of NAD" in judgment.measured[0]) == (answers[0] == "no")
    removal = {"method": "victim", "versus": "NAD", "how": "difference", "expected": "above 0.9"}
    assert judged(("a", "NAD", *STEADY), **removal, floor={"expected": "above 0.85"}).verdict == "not reproduced"


def test_values_are_shown_in_their_unit(judged):
    assert judged(("a", "NAD", 0.5, 0.5)).measured == ["a 50.0 [50.0, 50.0]"]
    assert judged(("a", "NAD", 0.5)).measured == ["a 50.0 (one seed)"]
    assert judged(("a", "NAD", 0.5, 0.5), unit="number").measured == ["a 0.5 [0.5, 0.5]"]
    mixed = judged(("a", "NAD", *STEADY), ("b", "NAD", *HIGH)).measured
    assert mixed[0].endswith("(yes)") and mixed[1].endswith("(no)")
