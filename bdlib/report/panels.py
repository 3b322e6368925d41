"""The comparison page's figures: a mark for each method, a panel for each attack."""

from math import ceil, floor

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdlib.evaluation.intervals import seed_interval
from bdlib.experiments.names import attack_name
from bdlib.report.colors import VICTIM
from bdlib.report.comparison import METHODS
from bdlib.report.pictures import WIDTH
from bdlib.report.ranking import SCORES

# Okabe-Ito colors, wine for its faint yellow; a shape for each, as color alone does not tell fourteen apart
COLORS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#000000", "#882255", *["#D55E00"] * 5,
           "#332288", "#44AA99")  # fmt: skip
MARKS = dict(zip(METHODS, zip(COLORS, "o^v<>p*sXPdHh8", strict=True), strict=True)) | {"victim": VICTIM}


def scatter(runs: pd.DataFrame) -> Figure:
    """A panel for each attack: clean accuracy against ASR, means as large marks, seeds as small ones."""
    attacks = list(dict.fromkeys(runs["attack"]))
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 6.2), sharex=True, sharey=True, layout="constrained")
    accuracies = 20 * runs[["clean_accuracy_before", "clean_accuracy_after"]]
    ends = (5 * floor(accuracies.min().min()), 5 * ceil(accuracies.max().max())) if len(runs) else (0, 100)
    for ax, attack in zip(axes.flat, attacks, strict=False):
        group = runs[runs["attack"] == attack]
        victims = group.drop_duplicates("seed").assign(method="victim")
        _draw_mean(ax, victims["asr_before"], victims["clean_accuracy_before"], "victim")
        for method, mine in group.groupby("method", sort=False):
            _draw_mean(ax, mine["asr_after"], mine["clean_accuracy_after"], str(method))
        ax.set(title=attack_name(attack), xlim=(-4, 104), ylim=ends)
        ax.annotate("good", (0.02, 0.97), xycoords="axes fraction", va="top", style="italic", color="#555555")
    for ax in axes[-1]:
        ax.set_xlabel("attack success rate (%)")
    for ax in axes[:, 0]:
        ax.set_ylabel("clean accuracy (%)")
    _add_legend(figure, runs)
    return figure


def _draw_mean(ax: Axes, across: pd.Series, up: pd.Series, method: str) -> None:
    """One method's seeds, faint, and their mean."""
    tint, shape = MARKS[method]
    ax.plot(100 * across, 100 * up, ".", color=tint, alpha=0.45, ms=4)
    ax.plot(100 * across.mean(), 100 * up.mean(), shape, color=tint, ms=8, mec="#333333", mew=0.6)


def _add_legend(figure: Figure, runs: pd.DataFrame) -> None:
    """The marks below the panels."""
    names = ["victim", *dict.fromkeys(runs["method"])]
    marks = [plt.Line2D([], [], color=MARKS[n][0], marker=MARKS[n][1], ls="", ms=7, mec="#333333", mew=0.6)
             for n in names]  # fmt: skip
    figure.legend(marks, names, loc="outside lower center", ncols=6)


def intervals(runs: pd.DataFrame, score: str, label: str) -> Figure:
    """A panel for each attack, a line for each method: the seeds, their mean and its 95 % interval.

    The dotted line is the undefended victim.
    """
    attacks, names = list(dict.fromkeys(runs["attack"])), list(dict.fromkeys(runs["method"]))
    figure, axes = plt.subplots(1, max(len(attacks), 1), figsize=(WIDTH, 0.6 + 0.27 * (len(names) + 1)), sharey=True,
                                squeeze=False, layout="constrained")  # fmt: skip
    for ax, attack in zip(axes[0], attacks, strict=False):
        group = runs[runs["attack"] == attack]
        for place, name in enumerate(names):
            values = group.loc[group["method"] == name, SCORES[score]]
            if len(values):
                _draw_interval(ax, 100 * values, place, name)
        idle = 0.5 if score == "der" else group.drop_duplicates("seed")[f"{score}_before"].mean()
        ax.axvline(100 * idle, color=MARKS["victim"][0], lw=1, ls=":")
        ax.set(title=attack_name(attack), xlim=(-4, 104))
    axes[0][0].set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
    axes[0][0].set_yticklabels(names)
    figure.supxlabel(label, fontsize=9)
    return figure


def _draw_interval(ax: Axes, values: pd.Series, place: int, method: str) -> None:
    """Seeds above, mean and interval below them; the interval ends where a share ends."""
    tint, shape = MARKS[method]
    ax.plot(values, [place - 0.22] * len(values), ".", color=tint, alpha=0.5, ms=4)
    mean, low, high = seed_interval(values.tolist()) if len(values) > 1 else (values.iloc[0],) * 3
    ends = [[mean - max(low, 0)], [min(high, 100) - mean]]
    ax.errorbar([mean], [place + 0.08], xerr=ends, fmt=shape, color=tint, ecolor="#555555", ms=6, mec="#333333",
                mew=0.5, capsize=2, lw=1)  # fmt: skip
