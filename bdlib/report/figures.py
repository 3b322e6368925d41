"""The book's style, its figures of images and of scores over seeds, and the library's source as a chapter shows it.

Filled marks are measured here, hollow ones were reported; whiskers are 95 % intervals over seeds. Accuracies and
success rates share axes from 0 to 100 per cent.
"""

import base64
import inspect
import io
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdlib.experiments.names import attack_name
from bdlib.experiments.records import over_seeds
from bdlib.report.colors import color, marker
from bdlib.report.drawings import method_drawing
from bdlib.report.pictures import WIDTH, attention_grid, eight_images, example_images, image_grid

__all__ = [
    "attention_grid",
    "by_attack",
    "eight_images",
    "example_images",
    "image_grid",
    "method_drawing",
    "show",
    "style",
    "svg",
    "sweep",
]

AXES = {"asr": "attack success rate (%)", "clean_accuracy": "clean accuracy (%)"}


def style() -> None:
    """Set the book's look for every figure that follows, as crisp SVG inside a notebook, and for its tables."""
    sns.set_theme(context="paper", style="ticks", rc={
        "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 9, "axes.labelsize": 9,
        "font.family": "DejaVu Sans", "legend.frameon": False, "figure.dpi": 110, "svg.hashsalt": "bdlib",
        "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
    })  # fmt: skip
    pd.set_option("display.max_colwidth", None)  # a table shows its texts whole
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # not in a notebook
        return
    set_matplotlib_formats("svg", metadata={"Date": None})


def svg(figure: Figure) -> bytes:
    """A figure as an SVG file, and closed: equal figures give equal bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    return drawn.getvalue()


def png(figure: Figure) -> bytes:
    """A figure as a PNG file of 150 dots an inch; it stays open. Equal figures give equal bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()


def html_image(figure: Figure, alt: str) -> str:
    """A figure as an element of a page that brings its data along, with words for those who do not see it."""
    data = base64.b64encode(png(figure)).decode()
    return f'<img alt="{escape(alt)}" style="max-width: 100%; width: 50em" src="data:image/png;base64,{data}">'


def show(*functions: Any) -> Any:
    """The source of library functions, highlighted, as the cell's output."""
    from IPython.display import Code

    sources = [textwrap.dedent(inspect.getsource(function)) for function in functions]
    return Code("\n\n".join(sources), language="python")


def by_attack(runs: pd.DataFrame, attacks: Sequence[str], reported: pd.DataFrame | None = None) -> Figure:
    """ASR and clean accuracy of every method on every attack: each seed a dot, mean and interval beside them.

    `runs` has columns attack, method, asr_after, clean_accuracy_after and their `_before`; `reported` has attack_key,
    method, acc_percent, asr_percent and is drawn hollow.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9), layout="constrained")
    methods = list(dict.fromkeys(runs["method"]))
    victims = runs.drop_duplicates(["attack", "seed"])
    for ax, (score, label), published in zip(axes, AXES.items(), ("asr_percent", "acc_percent"), strict=True):
        for place, attack in enumerate(attacks):
            _draw_seeds(ax, victims[victims["attack"] == attack], f"{score}_before", place - 0.27, "victim")
            for number, method in enumerate(methods):
                mine = runs[(runs["attack"] == attack) & (runs["method"] == method)]
                x = place + 0.27 * number
                _draw_seeds(ax, mine, f"{score}_after", x, method)
                if reported is not None:
                    rows = reported[(reported["attack_key"] == attack) & (reported["method"] == method)]
                    ax.plot([x + 0.1] * len(rows), rows[published], marker(method), mfc="none", mec=color(method), ms=5)
        ax.set(xticks=range(len(attacks)), ylabel=label, ylim=(-2, 102))
        ax.set_xticklabels([attack_name(attack) for attack in attacks])
    _add_legend(axes[1], ["victim", *methods])
    return figure


def sweep(runs: pd.DataFrame, parameter: str, label: str) -> Figure:
    """ASR and clean accuracy of every method against one parameter, mean and interval over seeds.

    The parameter's values stand side by side at equal distances, whatever their spacing.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    methods, ticks = list(dict.fromkeys(runs["method"])), sorted(set(runs[parameter]))
    for ax, (score, axis) in zip(axes, AXES.items(), strict=True):
        for number, method in enumerate(methods):
            line = over_seeds(runs[runs["method"] == method], [parameter], f"{score}_after").sort_values(parameter)
            places = [ticks.index(value) + 0.06 * number for value in line[parameter]]
            ends = [100 * (line["mean"] - line["low"].clip(0)), 100 * (line["high"].clip(upper=1) - line["mean"])]
            ax.errorbar(places, 100 * line["mean"], yerr=ends, fmt=f"-{marker(method)}",
                        color=color(method), ms=4, capsize=2, lw=1)  # fmt: skip
        ax.set(xlabel=label, ylabel=axis, ylim=(-2, 102), xticks=range(len(ticks)))
        ax.set_xticklabels([f"{tick:g}" for tick in ticks])
    _add_legend(axes[1], methods)
    return figure


def _draw_seeds(ax: Axes, runs: pd.DataFrame, score: str, x: float, method: str) -> None:
    """The seeds as small dots, and their mean with its interval as one mark."""
    if runs.empty:
        return
    mean, low, high = (100 * over_seeds(runs, ["attack"], score).iloc[0][name] for name in ("mean", "low", "high"))
    ax.plot([x - 0.05] * len(runs), 100 * runs[score], ".", color=color(method), alpha=0.4, ms=4)
    ends = [[mean - max(low, 0)], [min(high, 100) - mean]]
    ax.errorbar([x + 0.03], [mean], yerr=ends, fmt=marker(method), color=color(method), ms=5, capsize=2, lw=1)


def _add_legend(ax: Axes, methods: Sequence[str]) -> None:
    """The methods' marks, inside the last panel."""
    handles = [plt.Line2D([], [], color=color(m), marker=marker(m), ls="", ms=5) for m in methods]
    ax.legend(handles, methods, loc="lower right")
