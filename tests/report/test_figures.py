"""Figures: the right images, marks and panels, with and without runs."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.models import predict
from bdlib.report import figures, plots
from bdlib.report.colors import MEANINGS, color, colors, marker


@pytest.fixture(autouse=True)
def closed():
    """No figure is left open."""
    figures.style()
    yield
    plt.close("all")


def test_eight_images_show_the_trigger_and_what_the_model_then_predicts(backdoored, test_set, trigger):
    names = ["zero", "one", "two", "three"]
    figure = figures.eight_images(test_set, trigger, backdoored, 0, names)
    clean = figures.example_images(test_set, 0)
    assert sorted(clean.labels.tolist()) == [1, 2, 3]  # one of each class, none of the target's
    assert clean.labels.tolist() == test_set[test_set.labels != 0].labels.unique().tolist()
    assert len(figures.example_images(test_set, 0, count=2)) == 2
    rows = np.array(figure.axes).reshape(3, 3)
    assert [ax.get_ylabel() for ax in rows[:, 0]] == ["clean", "triggered", "difference"]
    triggered = apply_trigger(clean.images, trigger)
    predicted = predict(backdoored, type(clean)(triggered, clean.labels))
    assert [ax.get_title() for ax in rows[0]] == [names[label] for label in predicted.tolist()]
    drawn = torch.tensor(np.array(rows[1][0].images[0].get_array()))
    assert torch.equal(drawn, (triggered[0] / 255).permute(1, 2, 0).squeeze(-1))


def test_attention_is_scaled_to_its_own_peak():
    figure = figures.attention_grid(torch.rand(2, 3, 8, 8), {"victim": torch.rand(2, 4, 4) * 7}, titles=["a", "b"])
    assert len(figure.axes) == 4 and figure.axes[2].images[0].get_array().max() == 1


@pytest.mark.parametrize("count", [0, 9])
def test_figures_of_records_with_and_without_runs(count, three):
    """Before anything has been run at a profile, its chapter still builds."""
    runs = three.iloc[:count]
    assert len(figures.by_attack(runs, sorted(set(runs["attack"]))).axes) == 2
    assert len(figures.sweep(runs, "clean_fraction", "share").axes) == 2


def test_reported_scores_are_hollow(three):
    published = pd.DataFrame({"attack_key": ["badnets"], "method": ["NAD"], "acc_percent": [80], "asr_percent": [3]})
    asr, accuracy = figures.by_attack(three, ["badnets"], published).axes
    for ax, value in ((asr, 3), (accuracy, 80)):
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == "none" and len(line.get_ydata())]
        assert [line.get_ydata()[0] for line in hollow] == [value]


def test_shares_make_few_and_many_comparable():
    content = {"": {"many": [0.0] * 30 + [1.0] * 10, "few": [0.0, 1.0]}}
    for shares, heights in ((False, [30, 10, 1, 1]), (True, [75, 25, 50, 50])):
        axes = plots.histograms(content, x="loss", bins=2, shares=shares).axes[0]
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(heights)


def test_three_histograms_are_outlines_and_two_are_filled():
    for count, filled in ((2, True), (3, False)):
        content = {"": {f"group {number}": [0.0, 1.0, float(number)] for number in range(count)}}
        patches = plots.histograms(content, x="loss", bins=2).axes[0].patches
        assert {patch.get_fill() for patch in patches} == {filled}


def test_a_legend_is_above_the_axes():
    content = {"a": {"ASR": ([1.0, 2.0], [50.0, 0.0])}, "b": {"ACC": ([1.0, 2.0], [50.0, 0.0])}}
    bars = plots.bars({"badnets": {"ASR": 97.0, "ACC": 88.0}}, y="%")
    counts = plots.histograms({"a": {"ASR": [1.0, 2.0]}, "b": {"ACC": [1.0]}}, x="loss", bins=2)
    for figure in (plots.curves(content, x="", y=""), plots.clouds(content, x="", y=""), bars, counts):
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ASR", "ACC"]
        figure.canvas.draw()
        assert figure.legends[0].get_window_extent().y0 >= figure.axes[0].get_window_extent().y1
        plt.close(figure)


def test_one_point_stands_on_the_whole_axis():
    axis = plots.clouds({"": {"run": ([14.2], [0.5])}}, x="ASR (%)", y="coefficient").axes[0]
    assert axis.get_xlim() == (-2, 102) and axis.get_ylim() == (-0.02, 1.02)
    axis = plots.clouds({"": {"run": ([14.2, 20.0], [0.5, 3.0])}}, x="ASR (%)", y="coefficient").axes[0]
    assert axis.get_xlim()[0] > 10


def test_random_selection_fus_and_lps_differ_in_color_and_mark():
    names = ["random", "FUS", "LPS"]
    assert len({color(name) for name in names}) == len({marker(name) for name in names}) == 3
    assert colors(names) == {name: color(name) for name in names}


def test_a_name_with_a_meaning_keeps_its_color():
    tints = colors(["first", "ASR", "second", "fine-tuning"])
    assert tints["ASR"] == MEANINGS["ASR"] and tints["fine-tuning"] == color("fine-tuning")
    assert len(set(tints.values())) == 4


def test_a_logarithmic_panel_without_lines_can_be_drawn():
    """A chapter whose records nobody has made yet shows an empty figure."""
    figure = plots.curves({"a": {"ASR": ([], [])}, "b": {"ASR": ([1.0, 10.0], [50.0, 0.0])}}, x="", y="", log_x=True)
    figure.canvas.draw()
    assert [ax.get_xscale() for ax in figure.axes] == ["linear", "log"]
    plt.close(figure)
