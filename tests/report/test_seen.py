"""What a table or a figure shows, said in a sentence: the numbers are those of the table."""

import pandas as pd
import pytest

from bdlib.checks import ParameterError
from bdlib.claims import load_claims
from bdlib.claims.verdicts import Group, Judgment
from bdlib.evaluation.metrics import Scores
from bdlib.report import finding, seen, workshop


def scores(accuracy, asr):
    return Scores(clean_accuracy=accuracy, clean_accuracy_others=accuracy, asr=asr, robust_accuracy=1 - asr)


def test_scores_of_a_run():
    text = seen.scored({"victim": scores(0.9, 0.99), "half-way": scores(0.5, 0.5), "NAD": scores(0.88, 0.031)},
                       left_out=("half-way",))  # fmt: skip
    assert text.startswith("ASR in this run: the victim has 99.0 %; *NAD* has 3.1 % (-2.0 points of ACC).")


def test_extremes_name_the_groups_of_the_lowest_and_the_highest_mean(three):
    text = seen.extremes(three, ["attack", "method"])
    assert "**ASR** is lowest for *BadNets, NAD* (2.3 %) and highest for *BadNets, fine-tuning* (61.0 %)" in text
    assert "**ACC** is 85.0 % everywhere" in text
    assert seen.extremes(three.iloc[:0], ["method"]) == seen.NOTHING
    assert seen.extremes(three, ["method"], {"missing": "x"}) == seen.UNMEASURED  # the table has rows
    two = seen.extremes(three.assign(gamma=[0.1, 0.5, 0.5] * (len(three) // 3)), ["gamma"])
    assert "for *gamma 0.1*" in two and "for *gamma 0.5*" in two
    one = seen.extremes(three[three["method"] == "NAD"], ["method"], {"seconds": "time"}, factor=1)
    assert one == "Means over 3 seeds: **time** is 6.0 for *NAD*."
    fewer = three[(three["method"] != "NAD") | (three["seed"] == 0)]
    assert seen.extremes(fewer, ["method"]).startswith("Means over 1 to 3 seeds: ")
    assert seen.extremes(three[three["seed"] == 0], ["method"]).startswith("One seed: ")


def test_rows_that_share_a_number_are_named_together_or_counted(three):
    """A score of the victim belongs to no method, so no method may be named alone for it."""
    victim = {"asr_before": "victim (%)", "asr_after": "ASR (%)"}
    two = three[three["method"] != "ANP"]
    level = two.assign(asr_before=[0.99] * 3 + [0.2] * 3)
    assert "**victim** is lowest for *fine-tuning* (20.0 %)" in seen.extremes(level, ["method"], victim)
    shared = pd.concat([level, level.assign(method=level["method"] + "+", asr_before=0.2)])
    words = seen.extremes(shared, ["method"], victim)
    assert "**victim** is lowest for *fine-tuning*, *NAD+* and *fine-tuning+* (20.0 %) and highest for *NAD*" in words
    more = pd.concat([shared, level.assign(method=level["method"] + "-", asr_before=0.2)])
    assert "**victim** is lowest for 5 of 6 (20.0 %) and highest" in seen.extremes(more, ["method"], victim)


def test_ranges_read_numbers_and_leave_words_out():
    text = seen.ranges({"a": {"x": "1.50", "word": "yes"}, "b": {"x": 0.25, "word": "no"}})
    assert text == "In this run: **x** is lowest for *b* (0.25) and highest for *a* (1.50)."
    assert seen.ranges({"a": {"word": "yes"}}) == "This run gives no number here."


def test_a_trend_pairs_the_two_ends_by_seed(runs_of):
    parts = {1.0: (0.5, 0.6, 0.7), 5.0: (0.0, 0.05, 0.1), 10.0: (0.1, 0.2, 0.3)}
    table = pd.concat([runs_of("NAD", asr, share=share) for share, asr in parts.items()])
    table = pd.concat([table, runs_of("other", (0.1, 0.2, 0.3), share=1.0)])
    text = seen.trend(table, "share", "clean images, %")
    assert text.startswith("From one end of the axis (clean images, %) to the other, 1 to 10. *NAD*: the ASR goes from")
    assert "60.0 to 20.0 % (-40.0 [-40.0, -40.0] points)" in text and "lowest mean ASR, 5.0 %, is at 5" in text
    assert "other*" not in text
    assert seen.trend(table.iloc[:0], "share", "x") == seen.NOTHING
    one = seen.trend(table[table["share"] == 5.0], "share", "clean images, %")
    assert one == "Only one value has been run yet (clean images, %: 5), so nothing can be said of a trend."
    apart = pd.concat([runs_of("NAD", parts[5.0], share=5.0), runs_of("other", (0.1, 0.2, 0.3), share=1.0)])
    assert seen.trend(apart, "share", "x").startswith("No method has been run at two values yet (x)")


def test_the_price_begins_with_the_cheapest(three, runs_of):
    text = seen.cost(pd.concat([three, runs_of("free", (0, 0, 0), acc=(0.9, 0.91, 0.92))]))
    assert text.startswith("Points of ACC that a clean twin loses, least first: *free* 0.0 [")
    assert seen.cost(three.iloc[:0]) == seen.NOTHING


def test_published_numbers_stand_beside_ours(three):
    published = pd.DataFrame({"defense_key": ["nad", None], "attack_key": ["badnets"] * 2, "asr_percent": [3.62, 1.0]})
    here = {"victim": scores(0.9, 0.99), "NAD": scores(0.88, 0.04)}
    text = seen.beside_reported(here, {"cifar": three, "quick": three}, published, attack="badnets")
    assert text.startswith("ASR, *NAD*: published 3.6 %, here 4.0 %.") and text.endswith("on this attack is cifar.")
    none = seen.beside_reported(here, {"cifar": three.iloc[:0]}, published, attack="sig")
    assert none == "None of these rows has a published ASR for SIG, so nothing is compared."


def test_a_finding_follows_the_verdicts(monkeypatch):
    claim = next(one for one in load_claims() if one.id == "nad-asr")
    nan = float("nan")
    groups = (Group("badnets", 0.021, 0.0, 0.05, 3, "yes"), Group("sig", 0.7, 0.6, 0.8, 3, "no"),
              Group("low_frequency", 0.08, nan, nan, 1, "undecided"))  # fmt: skip
    judged = {"cifar": Judgment(claim, "partly", groups), "quick": Judgment(claim, "reproduced", groups[:1])}
    monkeypatch.setattr(finding.claims, "load_claims", lambda: [claim])
    monkeypatch.setattr(finding.claims, "largest_judgment", lambda _: (judged["cifar"], "cifar"))
    monkeypatch.setattr(finding.claims, "judge", lambda _, scale: judged[scale])
    text = finding.finding("nad", "nad-asr", "it helps")
    begin = (
        "**The paper claims that it helps; at CIFAR-10 this holds for BadNets (2.1 %), fails for SIG (70.0 %) and is"
    )
    assert text.startswith(f"{begin} open")
    assert "for low-frequency (8.0 %, one seed).** Expected: below 10 % (tolerance 5). In the small" in text
    assert "In the small setting that this page runs (quick) it holds for BadNets (2.1 %)." in text
    assert text.endswith("This page judges 1 claim, each at the largest scale that was run: 1 partly.")
    with pytest.raises(ParameterError, match="lead='nad-xyz': must be one of nad-asr"):
        finding.finding("nad", "nad-xyz", "it helps")


def test_a_finding_says_why_a_group_cannot_be_tested(monkeypatch):
    claim = next(one for one in load_claims() if one.id == "strip-low-entropy")
    weak = "ASR of victim is 86.0, not above 90 %"
    groups = (Group("badnets", -0.7, -0.8, -0.6, 3, "yes"), Group("sig", 0.0, -0.1, 0.1, 3, "not testable", weak))
    monkeypatch.setattr(finding.claims, "load_claims", lambda: [claim])
    monkeypatch.setattr(finding.claims, "largest_judgment", lambda _: (Judgment(claim, "reproduced", groups), "quick"))
    assert "cannot be tested for SIG (premise not met: There is a backdoor to detect)" in finding.finding(
        "strip", "strip-low-entropy", "it helps"
    )


def test_a_finding_calls_a_repair_as_the_chapters_do(monkeypatch):
    claim = next(one for one in load_claims() if one.id == "reactivation-woken")
    groups = (Group("fine_tune", 0.3, 0.2, 0.4, 3, "yes"), Group("i_bau", 0.0, 0.0, 0.0, 3, "no"))
    monkeypatch.setattr(finding.claims, "load_claims", lambda: [claim])
    monkeypatch.setattr(finding.claims, "largest_judgment", lambda _: (Judgment(claim, "partly", groups), "quick"))
    text = finding.finding("reactivation", "reactivation-woken", "it wakes")
    assert "holds for fine-tuning (30.0 points) and fails for I-BAU (0.0 points)" in text


def test_a_finding_without_records_says_so(monkeypatch):
    claim = next(one for one in load_claims() if one.id == "nad-asr")
    monkeypatch.setattr(finding.claims, "load_claims", lambda: [claim])
    monkeypatch.setattr(finding.claims, "largest_judgment", lambda _: (Judgment(claim, "not run"), "quick"))
    assert finding.finding("nad", "nad-asr", "it helps").startswith("**The paper claims that it helps; no record")


def test_the_finding_of_the_gallery_counts_the_attacks_that_work(runs_of, monkeypatch):
    suite = pd.concat(
        [runs_of("x", (0, 0, 0), attack=name, asr_before=asr) for name, asr in (("sig", 0.5), ("bpp", 0.99))]
    )
    monkeypatch.setattr(finding.studies, "at_all_scales", lambda *_: {"paper": suite.iloc[:0], "cifar": suite})
    said = "1 of 2 attacks reach a mean ASR of at least 90 %"
    first = f"**At CIFAR-10, {said} at their usual poison rate; below it: SIG (50.0 %).**"
    assert finding.suite_finding() == first
    monkeypatch.setattr(finding.studies, "at_all_scales", lambda *_: {"cifar": suite, "quick": suite})
    small = f"In the small setting that this page runs (quick), {said}; below it: SIG (50.0 %)."
    assert finding.suite_finding() == f"{first} {small}"


def test_the_finding_of_the_comparison_ranks_worst_cases_beside_the_control(three, runs_of, monkeypatch):
    """NAD leaves 2.3 % of one attack and 40 % of the other; a method that has met one attack is named, not ranked."""
    sig = [runs_of("NAD", (0.4, 0.4, 0.4), attack="sig"), runs_of("fine-tuning", (0.1, 0.2, 0.3), attack="sig")]
    there = {"paper": three.iloc[:0], "cifar": pd.concat([three, *sig]), "quick": three[three["method"] == "NAD"]}
    monkeypatch.setattr(finding.comparison, "repairs", lambda scale: there[scale])
    text = finding.repairs_finding()
    first = "NAD (40.0 % on SIG, for 6.0 points of ACC) and fine-tuning (61.0 % on BadNets, for 6.0 points of ACC)"
    assert text.startswith(f"**At CIFAR-10, the least ASR in the worst case is left by {first}, of 2 repairs")
    assert "of 2 repairs on the same victims (2 attacks, 3 seeds each).** A worst case is" in text
    assert "shows NAD to leave less than the control, fine-tuning, on 1 of 2 attacks" in text
    assert "an attack is missing: ANP." in text
    assert "In the small setting that this page runs (quick), the least ASR" in text
    monkeypatch.setattr(finding.comparison, "repairs", lambda _: three.iloc[:0])
    assert finding.repairs_finding() == "**No record says yet what the repairs leave in the worst case.**"


def test_a_worst_case_of_one_seed_says_so_and_the_control_is_not_set_beside_itself(runs_of, monkeypatch):
    one = runs_of("fine-tuning", (0.5, 0.5, 0.5)).iloc[:1]
    monkeypatch.setattr(finding.comparison, "repairs", lambda scale: one if scale == "quick" else one.iloc[:0])
    text = finding.repairs_finding()
    assert (
        "left by fine-tuning (50.0 % on BadNets, one seed, for 5.0 points of ACC), of 1 repair on the same victims"
        in text
    )
    assert "(1 attack, 1 seed each).** A worst case is" in text and "paired test" not in text


def test_the_finding_of_the_workshop_counts_the_tools_and_the_runs(monkeypatch):
    read = {
        f"{key}_{which}": 4.0 if which == "victim" else 1.0 for key in workshop.TOOLS for which in ("victim", "twin")
    }
    other = read | {"attack": "low_frequency", "grad_cam_victim": None, "island_victim": 1.0, "lipschitz_victim": 1.0}
    runs = pd.DataFrame([read | {"attack": "badnets", "island_victim": 1.0}, other])
    monkeypatch.setattr(finding.studies, "at_all_scales", lambda _: {"cifar": runs.iloc[:0], "quick": runs})
    text = finding.tools_finding()
    assert text.startswith("**At the quick scale, 9 of 11 tools tell the victim from its clean twin in every run: conf")
    assert "In no run do so: t-SNE. The sentence counts 2 runs, of BadNets and low-frequency." in text
    assert "need no trigger see a difference: channel Lipschitz bounds in 1 of 2, loss landscape in 2 of 2" in text
    monkeypatch.setattr(finding.studies, "at_all_scales", lambda _: {"quick": pd.DataFrame()})
    assert finding.tools_finding() == "**No record says yet which tools tell a victim from its clean twin.**"
