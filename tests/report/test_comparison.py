"""The join of all chapters' records: complete where it can be, and an error where it must not be."""

import pandas as pd
import pytest

from bdlib.experiments import notebooks, studies
from bdlib.experiments import run as experiments
from bdlib.report import comparison, figures, panels
from bdlib.report.comparison import BASELINES, IN_TRAINING, METHODS, PAPERS, SETTING, Mismatch
from bdlib.report.tables import method_name


def runs_of(method, asr, *, acc=(0.85, 0.86, 0.84), attack="badnets", **changes):
    """A method's records on three seeds of an attack, as `records.table` would give them."""
    rows = []
    for seed, (success, right) in enumerate(zip(asr, acc, strict=True)):
        rows.append({"method": method, "attack": attack, "seed": seed, "dataset": "fashion", "data_fraction": 1.0,
                     "model": "small_resnet", "target_label": 0, "victim_epochs": 8, "victim_batch_size": 64,
                     "clean_fraction": 0.05, "poison_rate": 0.1, "clean_accuracy_before": 0.9 + seed / 100,
                     "asr_before": 0.99, "robust_accuracy_before": 0.01, "asr_after": success,
                     "clean_accuracy_after": right, "robust_accuracy_after": 1 - success,
                     "der": (0.99 - success - (0.9 + seed / 100 - right) + 1) / 2, "seconds": 5.0 + seed,
                     "epochs": 20, "batch_size": 32} | changes)  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def three():
    """A strong method, a weak one, and one whose seeds disagree."""
    return pd.concat([runs_of("ANP", (0.5, 0.9, 0.1)), runs_of("NAD", (0.02, 0.03, 0.02)),
                      runs_of("fine-tuning", (0.60, 0.62, 0.61))])  # fmt: skip


def test_every_method_of_the_page_is_a_defence_and_has_a_mark_of_its_own():
    from bdlib.defenses import DEFENSES

    assert set(BASELINES) <= DEFENSES.keys() and len(METHODS) == 13
    assert {p for p in (*PAPERS, *IN_TRAINING) if p in notebooks.papers()} <= DEFENSES.keys()
    shapes = [shape for _, shape in panels.MARKS.values()]
    assert len(set(shapes)) == len(shapes) == 14


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
    assert "nad" not in comparison.chapters("paper") and "NAD" in comparison.absent("paper")


def test_records_of_the_same_victims_are_joined_in_the_books_order(three):
    joined = comparison.same_victims(three)
    assert list(dict.fromkeys(joined["method"])) == ["NAD", "fine-tuning", "ANP"] and len(joined) == 9
    assert joined["seed"].tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize("column", [*SETTING, *comparison.VICTIM])
def test_any_difference_of_setting_or_victim_is_an_error(three, column):
    other = runs_of("SAU", (0.1, 0.1, 0.1)).astype(object)
    other.loc[1, column] = "resnet18" if column in ("dataset", "model") else 0.123
    with pytest.raises(Mismatch, match=f"badnets, seed 1: {column} differs: .*SAU"):
        comparison.same_victims(pd.concat([three, other]))


def test_defences_that_train_may_have_other_clean_images_but_no_other_victim(three):
    keyed = runs_of("PDB", (0.0, 0.1, 0.2), clean_fraction=0.1)
    assert len(comparison.same_victims(pd.concat([three, keyed]), clean_images=False)) == 12
    with pytest.raises(Mismatch, match="clean_fraction differs"):
        comparison.same_victims(pd.concat([three, keyed]))
    keyed.loc[0, "asr_before"] = 0.5
    with pytest.raises(Mismatch, match="badnets, seed 0: asr_before differs: .*PDB"):
        comparison.same_victims(pd.concat([three, keyed]), clean_images=False)


def test_two_records_for_one_place_are_an_error(three):
    with pytest.raises(Mismatch, match="two records of NAD"):
        comparison.same_victims(pd.concat([three, runs_of("NAD", (0.5, 0.5, 0.5))]))


def test_the_join_takes_the_methods_own_rows_and_the_common_seeds(monkeypatch):
    five = pd.concat([runs_of("NAD", (0.1, 0.2, 0.3)), runs_of("NAD", (0.1, 0.2, 0.3)).assign(seed=[3, 4, 5]),
                      runs_of("fine-tuning", (0.7, 0.7, 0.7))])  # fmt: skip
    own = pd.concat([runs_of("fine-tuning", (0.6, 0.6, 0.6)), runs_of("ANP", (0.4, 0.4, 0.4))])
    there = {("nad", "headline"): five, ("comparison", "baselines"): own}
    monkeypatch.setattr(experiments, "study", lambda paper, profile, name: there.get((paper, name), own.iloc[:0]))
    joined = comparison.together("quick")
    assert joined.groupby("method")["seed"].apply(list).to_dict() == {
        m: [0, 1, 2] for m in ("NAD", "fine-tuning", "ANP")
    }
    assert joined.loc[joined["method"] == "fine-tuning", "asr_after"].tolist() == [0.6] * 3
    assert "fine-pruning" in comparison.absent("quick") and "NAD" not in comparison.absent("quick")


def test_an_order_is_given_only_where_paired_intervals_separate(three):
    pairs = comparison.separations(three, "asr").set_index(["better", "worse"])["separate"]
    assert pairs.to_dict() == {("NAD", "ANP"): False, ("NAD", "fine-tuning"): True, ("ANP", "fine-tuning"): False}
    told = comparison.order(three, "asr")
    assert told.startswith("Of 3 pairs, 1 separate;")
    assert "shown to be beaten: fine-tuning (by NAD). Shown to be beaten by none: NAD, ANP." in told
    turned = comparison.separations(three, "der").set_index(["better", "worse"])["separate"]
    assert turned["NAD", "fine-tuning"] and "beaten: fine-tuning (by NAD)" in comparison.order(three, "der")
    doubtful = pd.concat([runs_of("NAD", (0.1, 0.9, 0.5)), runs_of("ANP", (0.2, 0.8, 0.6))])
    assert "no order can be given" in comparison.order(doubtful, "asr")


def test_methods_are_compared_seed_by_seed():
    """A difference that every victim shows is seen, however far the victims lie apart."""
    both = pd.concat([runs_of("NAD", (0.10, 0.50, 0.90)), runs_of("SAU", (0.04, 0.45, 0.84))])
    assert comparison.separations(both, "asr").to_dict("records") == [
        {"attack": "badnets", "better": "SAU", "worse": "NAD", "separate": True}
    ]
    shuffled = pd.concat([runs_of("NAD", (0.10, 0.50, 0.90)), runs_of("SAU", (0.45, 0.84, 0.04))])
    assert not comparison.separations(shuffled, "asr")["separate"].any()


def test_one_common_seed_separates_nothing(three):
    assert comparison.separations(three[three["seed"] == 0], "asr").empty
    assert "nothing can be said" in comparison.order(three[three["seed"] == 0], "asr")


def test_tables_show_every_method_and_leave_what_was_not_run_empty(three):
    more = pd.concat([three, runs_of("NAD", (0.1, 0.1, 0.1), attack="sig")])
    table = comparison.table(more, "asr")
    assert list(table.columns) == ["badnets", "sig"] and table.loc["victim", "sig"].startswith("99.0")
    assert table.loc["NAD", "badnets"].startswith("2.3 [") and table.loc["ANP", "sig"] == ""
    assert "victim" not in comparison.table(more, "der").index
    costs = comparison.price(pd.concat([runs_of("NAD", (0, 0, 0)), runs_of("ANP", (0, 0, 0), acc=(0.9, 0.9, 0.9))]))
    assert list(costs.index) == ["ANP", "NAD"] and costs.loc["ANP", "cost (points)"].startswith("1.0")


def test_budgets_are_the_settings_of_each_method(three):
    spent = comparison.budgets(three, "quick", images=600)
    assert spent.loc["NAD", "passes"] == "10 + 20" and spent.loc["NAD", "steps"] == 30 * 19
    assert spent.loc["fine-tuning", "passes"] == "20" and spent.loc["ANP", "passes"] == "14"
    assert spent.loc["ANP", "seconds (least)"] == "5.0"


def test_figures_and_tables_with_and_without_runs(three):
    figures.style()
    for runs in (three, three.iloc[:0]):
        assert len(panels.scatter(runs).axes) == 4
        assert len(panels.intervals(runs, "asr", "ASR (%)").axes) == 1
        assert len(comparison.table(runs, "asr")) == 4 * bool(len(runs))
        assert len(comparison.separations(runs, "der")) == len(comparison.price(runs)) == 3 * bool(len(runs))
        assert len(comparison.budgets(runs, "quick", images=600)) == 3 * bool(len(runs))
        assert comparison.order(runs, "asr")
    figures.plt.close("all")


@pytest.mark.parametrize("study", ["headline", "clean_model"])
def test_the_committed_records_agree_on_every_victim(study):
    """The join of what is committed raises nothing; fine-tuning here is NAD's control of the same steps, to the bit."""
    joined = comparison.together("quick", study)
    nad = studies.load_study("nad", "quick", study)
    mine = joined[joined["method"] == "fine-tuning"].set_index(["attack", "seed"])["asr_after"]
    theirs = nad[nad["method"] == "fine-tuning"].set_index(["attack", "seed"])["asr_after"]
    assert "NAD" in set(joined["method"]) and mine.to_dict() == theirs.reindex(mine.index).to_dict()


def test_a_method_with_fewer_seeds_is_named():
    """The committed records: one seed of ANP by accuracy beside three of the rest."""
    runs = comparison.together("quick")
    seeds = runs.groupby("method")["seed"].nunique()
    for method, count in seeds.items():
        assert (f"{method} has {count} of them" in comparison.absent("quick")) == (count < seeds.max())
