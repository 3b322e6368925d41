"""The join of all chapters' records: complete where it can be, and an error where it must not be."""

import pandas as pd
import pytest

from bdlib.experiments import notebooks, studies
from bdlib.experiments.names import method_name
from bdlib.report import comparison, panels
from bdlib.report.comparison import BASELINES, IN_TRAINING, METHODS, PAPERS, SETTING, Mismatch


def test_every_method_of_the_page_is_a_defence_and_has_a_mark_of_its_own():
    from bdlib.defenses import DEFENSES

    assert set(BASELINES) <= DEFENSES.keys() and len(METHODS) == 14
    assert {p for p in (*PAPERS, *IN_TRAINING) if p in notebooks.papers()} <= DEFENSES.keys()
    shapes = [shape for _, shape in panels.MARKS.values()]
    assert len(set(shapes)) == len(shapes) == 15


def test_the_chapters_have_the_same_quick_victims_and_clean_images():
    there = [paper for paper in PAPERS if paper in notebooks.papers()]
    assert comparison.chapters("quick") == there and "nad" in there
    wanted = {
        (p["attack"], p["poison_rate"], p["seed"]) for _, p in notebooks.study("comparison", "quick", "baselines")
    }
    for paper in there:
        points = [p for m, p in notebooks.study(paper, "quick", "headline") if m == method_name(paper)]
        assert wanted <= {(p["attack"], p["poison_rate"], p["seed"]) for p in points}, paper


def test_a_chapter_at_another_setting_is_not_joined_and_named():
    """At paper scale NAD has its own network and target, so it is left out, not compared."""
    assert comparison.setting("nad", "paper") != comparison.setting("comparison", "paper")
    assert "nad" not in comparison.chapters("paper") and "NAD" in comparison.missing("paper")


def test_records_of_the_same_victims_are_joined_in_the_books_order(three):
    joined = comparison.same_victims(three)
    assert list(dict.fromkeys(joined["method"])) == ["NAD", "fine-tuning", "ANP"] and len(joined) == 9
    assert joined["seed"].tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize("column", [*SETTING, *comparison.VICTIM])
def test_any_difference_of_setting_or_victim_is_an_error(three, column, runs_of):
    other = runs_of("SAU", (0.1, 0.1, 0.1)).astype(object)
    other.loc[1, column] = "resnet18" if column in ("dataset", "model") else 0.123
    with pytest.raises(Mismatch, match=f"badnets, seed 1: {column} differs: .*SAU"):
        comparison.same_victims(pd.concat([three, other]))


def test_a_few_test_images_between_devices_are_no_other_victim(three, runs_of):
    """A CPU and a GPU score the same weights apart by an image in 10,000."""
    other = runs_of("SAU", (0.1, 0.1, 0.1)).astype(object)
    other["asr_before"] += 2e-4
    assert len(comparison.same_victims(pd.concat([three, other]))) == 12


def test_defences_that_train_may_have_other_clean_images_but_no_other_victim(three, runs_of):
    keyed = runs_of("PDB", (0.0, 0.1, 0.2), clean_fraction=0.1)
    assert len(comparison.same_victims(pd.concat([three, keyed]), clean_images=False)) == 12
    with pytest.raises(Mismatch, match="clean_fraction differs"):
        comparison.same_victims(pd.concat([three, keyed]))
    keyed.loc[0, "asr_before"] = 0.5
    with pytest.raises(Mismatch, match="badnets, seed 0: asr_before differs: .*PDB"):
        comparison.same_victims(pd.concat([three, keyed]), clean_images=False)


def test_two_records_for_one_place_are_an_error(three, runs_of):
    with pytest.raises(Mismatch, match="two records of NAD"):
        comparison.same_victims(pd.concat([three, runs_of("NAD", (0.5, 0.5, 0.5))]))


def test_the_join_takes_the_methods_own_rows_and_the_common_seeds(monkeypatch, runs_of):
    five = pd.concat([runs_of("NAD", (0.1, 0.2, 0.3)), runs_of("NAD", (0.1, 0.2, 0.3)).assign(seed=[3, 4, 5]),
                      runs_of("fine-tuning", (0.7, 0.7, 0.7))])  # fmt: skip
    own = pd.concat([runs_of("fine-tuning", (0.6, 0.6, 0.6)), runs_of("ANP", (0.4, 0.4, 0.4))])
    there = {("nad", "headline"): five, ("comparison", "baselines"): own}
    monkeypatch.setattr(studies, "load_study", lambda paper, profile, name: there.get((paper, name), own.iloc[:0]))
    joined = comparison.repairs("quick")
    assert joined.groupby("method")["seed"].apply(list).to_dict() == {
        m: [0, 1, 2] for m in ("NAD", "fine-tuning", "ANP")
    }
    assert joined.loc[joined["method"] == "fine-tuning", "asr_after"].tolist() == [0.6] * 3
    assert "fine-pruning" in comparison.missing("quick") and "NAD" not in comparison.missing("quick")


@pytest.mark.parametrize("study", ["headline", "clean_model"])
def test_each_control_is_of_the_comparisons_own_setting_and_attacks(study):
    """At CIFAR-10 the shared control ran on RNP's share of clean images and on NAD's network too."""
    joined, setting = comparison.repairs("cifar", study), comparison.setting("comparison", "cifar")
    assert all(set(joined[name]) == {value} for name, value in setting.items())
    assert set(joined["attack"]) <= (
        {"none"} if study == "clean_model" else {"badnets", "blended", "low_frequency", "sig"}
    )


@pytest.mark.parametrize("study", ["headline", "clean_model"])
def test_the_committed_records_agree_on_every_victim(study):
    """The join of what is committed raises nothing; fine-tuning here is NAD's control of the same steps, to the bit."""
    joined = comparison.repairs("quick", study)
    nad = studies.load_study("nad", "quick", study)
    mine = joined[joined["method"] == "fine-tuning"].set_index(["attack", "seed"])["asr_after"]
    theirs = nad[nad["method"] == "fine-tuning"].set_index(["attack", "seed"])["asr_after"]
    assert "NAD" in set(joined["method"]) and mine.to_dict() == theirs.reindex(mine.index).to_dict()


def test_a_method_with_fewer_seeds_is_named():
    """The committed records: one seed of ANP by accuracy beside three of the rest."""
    runs = comparison.repairs("quick")
    seeds = runs.groupby("method")["seed"].nunique()
    for method, count in seeds.items():
        assert (f"{method} has {count} of them" in comparison.missing("quick")) == (count < seeds.max())


def test_a_worst_case_is_the_attack_of_which_a_method_leaves_most(three, runs_of):
    sig = runs_of("NAD", (0.4, 0.5, 0.6), attack="sig", clean_accuracy_after=0.80)
    table = comparison.worst_cases(pd.concat([three, sig]))
    assert list(table.index) == ["NAD"] and table.loc["NAD", ["attack", "seeds"]].tolist() == ["sig", 3]
    assert table.loc["NAD", "asr"] == pytest.approx(0.5) and table.loc["NAD", "cost"] == pytest.approx(0.085)
    assert list(comparison.worst_cases(three).index) == ["NAD", "ANP", "fine-tuning"]
    assert comparison.worst_cases(three.iloc[:0]).empty
