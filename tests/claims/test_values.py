"""The numbers behind a claim: readings from records, paired by group and seed."""

import pandas as pd
import pytest

from bdlib.claims.schema import ClaimError, load_claims
from bdlib.claims.values import check_claim, claim_values

LEAD = {"versus": "fine-tuning", "how": "difference"}


def test_differences_are_paired_by_seed_and_ratios_divide(judged):
    rows = [("a", "NAD", 0.1, 0.3, 0.5), ("a", "fine-tuning", 0.2, 0.4)]
    paired = judged(*rows, **LEAD, expected="equal -0.1")
    assert paired.verdict == "reproduced" and paired.groups[0].seeds == 2
    ratio = judged(*rows, method="fine-tuning", versus="NAD", how="ratio", expected="below 2")
    assert ratio.groups[0].mean == pytest.approx((2 + 4 / 3) / 2) and ratio.measured[0].startswith("a 1.67 [")
    spent = judged(*rows, metric="seconds", versus={"metric": "der"}, how="difference", expected="equal 1.5")
    assert spent.verdict == "reproduced" and spent.measured == ["a 1.5 [1.5, 1.5]"]
    zero = judged(("a", "NAD", 0.0, 0.0), method="victim", versus="NAD", how="ratio", expected="above 2")
    assert zero.verdict == "undecided" and zero.measured == ["a undefined"]  # infinite is no measurement


def test_a_difference_that_the_run_itself_measured_lies_between_minus_one_and_one(judged, runs_of):
    runs = runs_of(("a", "NAD", 0.1, 0.2, 0.3)).assign(gain=[0.9, -0.8, 0.1])
    (group,) = judged(runs=runs, metric="gain", unit="points", expected="above 0.1").groups
    assert (group.low, group.high) == (-1.0, 1.0)  # by the seeds alone it would be -2.1 to 2.2
    (group,) = judged(runs=runs, metric="gain", unit="number", expected="above 0.1").groups
    assert group.low < -2 and group.high > 2


def test_the_victim_has_the_scores_before(judged, runs_of):
    rows = [("a", method, 0.1, 0.2) for method in ("NAD", "fine-tuning")]
    lost = judged(*rows, metric="acc", method="victim", versus="NAD", how="difference", expected="equal 0.1")
    assert lost.groups[0].seeds == 2
    assert judged(*rows, metric="ra", versus="victim", how="difference", expected="above 0.2").verdict == "reproduced"
    two = pd.concat([runs_of(*rows, poison_rate=rate)[["poison_rate", *runs_of(*rows).columns]] for rate in (0.1, 0.5)])
    with pytest.raises(ClaimError, match="nad-x: where: acc of victim has 4 runs .* choose by poison_rate"):
        judged(runs=two, metric="acc", method="victim")


def test_where_chooses_among_parameters(judged, runs_of):
    parts = [runs_of(("a", "NAD", asr, asr), rho=rho) for asr, rho in ((0.1, 0.0), (0.3, 2.0))]
    runs = pd.concat(parts, ignore_index=True)
    runs["beta"] = [(1.0, 2.0)] * 2 + [(3.0, 4.0)] * 2
    gap = {"where": {"rho": 2}, "versus": {"where": {"beta": [1, 2]}}, "how": "difference"}
    assert judged(runs=runs, **gap, expected="equal 0.2").verdict == "reproduced"
    assert judged(runs=runs, where={"rho": 7}).verdict == "not run"
    with pytest.raises(ClaimError, match=r"nad-x: where: asr of NAD has 2 runs .* choose by rho, beta"):
        judged(runs=runs)
    by_rho = judged(runs=runs, each="rho", expected="below 0.2")
    assert [(group.name, group.answer) for group in by_rho.groups] == [("0", "yes"), ("2", "no")]
    by_beta = judged(runs=runs, each="beta")
    assert [group.name for group in by_beta.groups] == ["1-2", "3-4"]


def test_a_reading_that_fixes_the_judged_column_goes_with_every_group(judged, runs_of):
    runs = runs_of(("a", "NAD", 0.1, 0.2), ("b", "NAD", 0.5, 0.6), ("c", "NAD", 0.3))
    only_a = {"versus": {"where": {"attack": "a"}}, "how": "difference"}
    lead = judged(runs=runs, **only_a, expected="above 0.3")
    assert [(group.name, round(group.mean, 9), group.seeds) for group in lead.groups] == [
        ("a", 0.0, 2), ("b", 0.4, 2), ("c", 0.2, 1),
    ]  # fmt: skip
    turned = judged(runs=runs, where={"attack": "a"}, versus={"where": {}}, how="difference", expected="below -0.3")
    assert [(group.name, round(group.mean, 9)) for group in turned.groups] == [("a", 0.0), ("b", -0.4), ("c", -0.2)]
    alone = judged(runs=runs, where={"attack": "b"}, **only_a, expected="equal 0.4")
    assert [(group.name, group.answer) for group in alone.groups] == [("b and a", "yes")]
    assert judged(runs=runs, where={"attack": "b"}, expected="above 0").groups[0].name == "b"


def test_what_was_measured_inside(judged, claim, runs_of):
    runs = runs_of(("a", "NAD", 0.1, 0.2), ("a", "fine-tuning", 0.1, 0.2))
    runs["drift"] = [2.0, 3.0, None, None]
    assert judged(runs=runs, metric="drift", expected="above 1").groups[0].mean == 2.5
    for wrong in ({"metric": "drfit"}, {"metric": "drift", "method": "fine-tuning"}, {"metric": "rho"},
                  {"metric": "asr_after"}):  # fmt: skip
        with pytest.raises(ClaimError, match=r"nad-x: metric: '\w+' is not measured of .*; there are acc, asr, ra"):
            judged(runs=runs, **wrong)
    with pytest.raises(ClaimError, match="nad-x: versus: metric: 'drift' is not measured of fine-tuning"):
        judged(runs=runs, metric="drift", **LEAD)
    none = runs_of(("a", "fine-tuning", 0.1, 0.2))
    assert judged(runs=none, metric="drift").verdict == "not run"
    check_claim(claim(metric="drift", **LEAD))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "seconds", "method": "victim"}, "metric: 'seconds' must be acc, asr, ra for the victim"),
        ({"metric": "drift", "method": "victim"}, "metric: 'drift' must be acc"),
        ({"where": {"roh": 1}}, "where: roh: no such parameter; there are attack, rho"),
        ({"versus": {"where": {"roh": 1}}, "how": "ratio"}, "versus: where: roh: no such parameter"),
        ({"where": {"asr_after": 0.1}}, "where: asr_after: no such parameter"),
        ({"each": "power"}, "each: 'power' must be a parameter of the runs: attack, rho"),
        ({"each": "der"}, "each: 'der' must be"),
    ],
)
def test_what_records_cannot_answer(claim, changes, words, runs_of):
    with pytest.raises(ClaimError, match=f"^nad-x: {words}"):
        claim_values(claim(**changes), runs_of(("a", "NAD", 0.1, 0.2)))


def test_a_claim_that_no_run_will_answer_is_refused(claim):
    check_claim(claim())
    for key, changes in (("method", {"method": "NDA"}), ("versus", LEAD | {"versus": "tuning"})):
        with pytest.raises(ClaimError, match=rf"^nad-x: {key}: '\w+' must be one of victim, NAD, fine-tuning"):
            check_claim(claim(**changes))
    for where in ({"seed": 77}, {"clean_fraction": 0.01}):
        with pytest.raises(ClaimError, match="^nad-x: where: no run of study headline answers asr of NAD where "):
            check_claim(claim(where=where))
    check_claim(claim(metric="anything"))


def test_a_claim_is_asked_only_at_scales_whose_runs_will_answer_it(claim):
    corner = claim(paper="pdb", method="PDB, corner key")
    with pytest.raises(
        ClaimError, match=r"^nad-x: scales: no run of study headline at cifar answers .*: paper, quick$"
    ):
        check_claim(corner)
    check_claim(corner.model_copy(update={"scales": ("paper", "quick")}))


def test_a_correlation_is_one_number_over_all_groups_for_each_seed(judged, runs_of):
    """By hand: ranks in the same order give one, in the reverse order minus one; two groups are too few."""
    rows = [("a", "NAD", 0.1, 0.9), ("b", "NAD", 0.2, 0.5), ("c", "NAD", 0.9, 0.1)]
    runs = runs_of(*rows).assign(asr_before=[0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    how = {"versus": "victim", "how": "correlation", "expected": "above 0"}
    found = claim_values(judged(runs=runs, **how).claim, runs)["value"]
    assert found.tolist() == pytest.approx([1.0, -1.0]) and [*found.index] == [("over attacks", 0), ("over attacks", 1)]
    assert judged(runs=runs[runs["seed"] == 0], **how).measured == ["over attacks 1 (one seed)"]
    assert judged(runs=runs[runs["attack"] != "c"], **how).verdict == "not run"


def test_every_claim_can_be_answered_once_its_runs_are_there():
    for each in load_claims():
        check_claim(each)
