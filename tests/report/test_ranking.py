"""The comparison page's tables: an order is given only where paired intervals separate."""

import math

import pandas as pd

from bdlib.report import figures, panels, ranking


def test_an_order_is_given_only_where_paired_intervals_separate(three, runs_of):
    pairs = ranking.separations(three, "asr").set_index(["better", "worse"])["separate"]
    assert pairs.to_dict() == {("NAD", "ANP"): False, ("NAD", "fine-tuning"): True, ("ANP", "fine-tuning"): False}
    told = ranking.order(three, "asr")
    assert told.startswith("Of 3 pairs, 1 separate;")
    assert "shown to be beaten: fine-tuning (by NAD). Shown to be beaten by none: NAD, ANP." in told
    turned = ranking.separations(three, "der").set_index(["better", "worse"])["separate"]
    assert turned["NAD", "fine-tuning"] and "beaten: fine-tuning (by NAD)" in ranking.order(three, "der")
    doubtful = pd.concat([runs_of("NAD", (0.1, 0.9, 0.5)), runs_of("ANP", (0.2, 0.8, 0.6))])
    assert "no order can be given" in ranking.order(doubtful, "asr")


def test_methods_are_compared_seed_by_seed(runs_of):
    """A difference that every victim shows is seen, however far the victims lie apart."""
    both = pd.concat([runs_of("NAD", (0.10, 0.50, 0.90)), runs_of("SAU", (0.04, 0.45, 0.84))])
    assert ranking.separations(both, "asr").to_dict("records") == [
        {"attack": "badnets", "better": "SAU", "worse": "NAD", "separate": True}
    ]
    shuffled = pd.concat([runs_of("NAD", (0.10, 0.50, 0.90)), runs_of("SAU", (0.45, 0.84, 0.04))])
    assert not ranking.separations(shuffled, "asr")["separate"].any()


def test_one_common_seed_separates_nothing(three):
    assert ranking.separations(three[three["seed"] == 0], "asr").empty
    assert "nothing can be said" in ranking.order(three[three["seed"] == 0], "asr")


def test_tables_show_every_method_and_leave_what_was_not_run_empty(three, runs_of):
    more = pd.concat([three, runs_of("NAD", (0.1, 0.1, 0.1), attack="sig")])
    table = ranking.scores(more, "asr")
    assert list(table.columns) == ["BadNets", "SIG"] and table.loc["victim", "SIG"].startswith("99.0")
    assert table.loc["NAD", "BadNets"].startswith("2.3 [") and table.loc["ANP", "SIG"] == ""
    assert "victim" not in ranking.scores(more, "der").index
    costs = ranking.price(pd.concat([runs_of("NAD", (0, 0, 0)), runs_of("ANP", (0, 0, 0), acc=(0.9, 0.9, 0.9))]))
    assert list(costs.index) == ["ANP", "NAD"] and costs.loc["ANP", "cost (points)"].startswith("1.0")


def test_budgets_are_the_passes_that_were_counted(three):
    counted = three.assign(forward_passes=math.nan, backward_passes=math.nan)
    counted.loc[counted["method"] == "NAD", ["forward_passes", "backward_passes"]] = [30_000, 18_000]
    spent = ranking.budgets(counted, "quick", images=600)
    assert spent.loc["NAD", "epochs"] == "10 + 20" and spent.loc["NAD", "forward passes"] == "50.0"
    assert spent.loc["NAD", "backward passes"] == "30.0" and spent.loc["ANP", "backward passes"] == ""
    assert spent.loc["fine-tuning", "epochs"] == "20" and spent.loc["ANP", "epochs"] == "14"
    assert spent.loc["ANP", "seconds (least)"] == "5.0"


def test_figures_and_tables_with_and_without_runs(three):
    figures.style()
    for runs in (three, three.iloc[:0]):
        assert len(panels.scatter(runs).axes) == 4
        assert len(panels.intervals(runs, "asr", "ASR (%)").axes) == 1
        assert len(ranking.scores(runs, "asr")) == 4 * bool(len(runs))
        assert len(ranking.separations(runs, "der")) == len(ranking.price(runs)) == 3 * bool(len(runs))
        assert len(ranking.budgets(runs, "quick", images=600)) == 3 * bool(len(runs))
        assert ranking.order(runs, "asr")
    figures.plt.close("all")
