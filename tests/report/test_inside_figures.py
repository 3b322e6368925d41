"""Tables, sentences and pictures of the pages that look inside."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from bdlib.experiments import notebooks
from bdlib.experiments.parameters import decisive
from bdlib.experiments.records import Record
from bdlib.report import heatmaps, waking, workshop
from bdlib.report.board_probes import mean_probes, probed

MEASURED = {f"{key}_{which}": value for key in workshop.TOOLS for which, value in
            (("victim", 4.0), ("repair", 1.0), ("twin", 1.0))}  # fmt: skip
WAKING = {key: 0.1 for key in waking.WORDS} | {"woken": 0.5, "excess": 0.4, "existence": 0.7, "retuned_gain": 0.0}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_tool_has_a_row_and_a_sentence_by_its_rule():
    table = workshop.summary(MEASURED)
    assert len(table) == len(workshop.TOOLS) == 11
    assert {*table["victim differs"]} == {"yes"} and {*table["repair differs"]} == {"no"}
    words = workshop.sentence(MEASURED, "island")
    assert "victim 4, repair 1, twin 1" in words and "the victim differs from the twin" in words
    assert "the repair does not differ" in words
    assert "not read here" in workshop.sentence({}, "grad_cam") and workshop.summary({}).empty


def test_runs_are_counted_by_group():
    rows = [MEASURED | {"attack": "badnets"}, MEASURED | {"attack": "badnets", "island_victim": 1.1}]
    blended = {k: v for k, v in MEASURED.items() if not k.startswith("grad_cam")} | {"attack": "blended"}
    runs = pd.DataFrame([*rows, blended])
    table = workshop.seen_over_runs(runs)
    assert table.loc["t-SNE", "BadNets"] == "1 of 2 / 0 of 2"
    assert table.loc["Grad-CAM", "Blended"] == "no place"
    said = workshop.seen_words(runs)
    assert said.startswith("Of 3 runs") and "t-SNE" not in said and "Grad-CAM" in said
    assert workshop.seen_words(pd.DataFrame()) == "No run has been recorded yet."


def test_both_probes_stand_beside_their_controls():
    table = waking.controls(WAKING)
    assert len(table) == 10 and table.loc[waking.WORDS["woken"], "target label (%)"] == "50.0"
    words = waking.words(WAKING)
    assert "from 10.0 % to 50.0 %" in words and "the excess is 40.0 points" in words and "is 0.70" in words
    runs = pd.DataFrame([WAKING | {"repaired_by": "nad", "attack": "badnets"}] * 2)
    assert "NAD 40 and 0" in waking.run_words(runs)
    assert waking.bars_of(runs)["NAD"] == {"as it is": 10.0, "woken": 50.0, "retuned": 10.0}
    assert waking.points_of(runs) == {"BadNets": ([10.0, 10.0], [0.7, 0.7])}
    for empty in (pd.DataFrame(), runs[:0]):
        assert waking.run_words(empty) == waking.NOT_YET
        assert "not run yet" in waking.bars_of(empty) and "not run yet" in waking.points_of(empty)


def test_panels_share_a_scale_and_columns_fill():
    ramp = torch.arange(9.0).view(3, 3)
    figure = heatmaps.heatmaps({"one": ramp, "other": -ramp}, diverging=True, label="credit")
    limits = {panel.images[0].get_clim() for panel in figure.axes[:2]}
    assert limits == {(-8.0, 8.0)} and figure.axes[0].get_title() == "one"
    figure = heatmaps.heatmaps({"one": ramp + 1}, log=True, extent=(-1, 1, -1, 1), x="first")
    assert figure.axes[0].images[0].get_clim() == (1.0, 9.0) and figure.axes[0].get_xlabel() == "first"
    shares = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])
    axis = heatmaps.unit_shares({"net": shares}, ["clean", "triggered"], x="filter", last="triggered").axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axis.patches]
    assert max(tops) == pytest.approx(100) and len(axis.patches) == 6
    assert axis.patches[0].get_height() == pytest.approx(100)  # the most triggered unit comes first


def test_the_board_takes_the_usual_audits_of_repairs_alone():
    usual = decisive(notebooks.parameters("reactivation", "quick"))
    found = {"existence": 0.4, "woken": 0.2, "excess": 0.1, "retuned": 0.3}

    def record(paper="reactivation", **changes):
        return Record(paper, usual | changes, None, None, None, measured=found | {"random": 0.1})

    assert probed(record(), "quick") == probed(record(repaired_by="nad", seed=2), "quick") == found
    for other in (record(epsilon=0.1), record(attack="none"), record(paper="workshop")):
        assert probed(other, "quick") == {}
    assert mean_probes({0: {"woken": 0.2}, 1: {"woken": 0.4}, 2: {}})["woken"] == pytest.approx(0.3)
    assert mean_probes({0: {}}) == {}
