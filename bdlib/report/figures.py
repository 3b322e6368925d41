"""The book's kinds of figure, in one style, and the library's source as a chapter shows it.

One meaning each: blue is the method, orange its control, gray the victim; load_checkpoint marks are measured here, hollow ones
were reported; whiskers are 95 % intervals over seeds. Accuracies and success rates share axes from 0 to 100 per cent.
"""

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bdlib.experiments.records import over_seeds
from bdlib.types import Images

WIDTH = 7.0  # inches, the text column
CONTROL = ("#D55E00", "s")
STYLES = {"victim": ("#767676", "D"), "FUS": ("#009E73", "^")}  # Okabe-Ito and a gray
STYLES |= dict.fromkeys(("fine-tuning", "plain training", "ABL, random isolation", "random"), CONTROL)
METHOD = ("#0072B2", "o")  # the chapter's method, whichever it is


def color(method: str) -> str:
    return STYLES.get(method, METHOD)[0]


def marker(method: str) -> str:
    return STYLES.get(method, METHOD)[1]


def style() -> None:
    """Set the book's look for every figure that follows, as crisp SVG inside a notebook."""
    sns.set_theme(context="paper", style="ticks", rc={
        "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 9, "axes.labelsize": 9,
        "font.family": "DejaVu Sans", "legend.frameon": False, "figure.dpi": 110, "svg.hashsalt": "bdlib",
        "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
    })  # fmt: skip
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # not in a notebook
        return
    set_matplotlib_formats("svg", metadata={"Date": None})


def show(*functions: Any) -> Any:
    """The source of library functions, highlighted, as the cell's output."""
    from IPython.display import Code

    sources = [textwrap.dedent(inspect.getsource(function)) for function in functions]
    return Code("\n\n".join(sources), language="python")


def image_grid(rows: Mapping[str, Images], *, columns: Sequence[str] = (), diverging: Sequence[str] = ()) -> Figure:
    """One row of pictures for each entry, named at its left; `columns` head them.

    Rows named in `diverging` hold differences in [-1, 1], drawn blue to red around white.
    """
    count = len(next(iter(rows.values())))
    figure, axes = plt.subplots(
        len(rows), count, figsize=(WIDTH, WIDTH * len(rows) / count + 0.3), squeeze=False, layout="constrained"
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images.detach().cpu(), strict=True):
            if name in diverging:
                ax.imshow(image.mean(0), cmap="RdBu_r", vmin=-1, vmax=1)
            else:
                picture(ax, image)
            bare(ax)
        label_row(line[0], name)
    for ax, title in zip(axes[0], columns, strict=False):
        ax.set_title(title)
    return figure


def attention_grid(images: Images, maps: Mapping[str, Tensor], *, titles: Sequence[str] = ()) -> Figure:
    """Pictures in the first row; below, each model's attention on them, shape (n, h, w), scaled to its own peak."""
    figure, axes = plt.subplots(
        1 + len(maps), len(images), figsize=(WIDTH, WIDTH * (1 + len(maps)) / len(images) + 0.3),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for ax, image in zip(axes[0], images.detach().cpu(), strict=True):
        picture(ax, image)
    label_row(axes[0][0], "image")
    for line, (name, attention) in zip(axes[1:], maps.items(), strict=True):
        for ax, grid in zip(line, attention.detach().cpu(), strict=True):
            ax.imshow(grid / grid.amax(), cmap="viridis", vmin=0, vmax=1)
        label_row(line[0], name)
    for ax in axes.flat:
        bare(ax)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title)
    return figure


def picture(ax: Axes, image: Tensor) -> None:
    """A color or gray image with pixels in [0, 1]."""
    pixels = image.permute(1, 2, 0)
    ax.imshow(pixels.squeeze(-1), cmap="gray", vmin=0, vmax=1)


def bare(ax: Axes) -> None:
    """A picture without ticks or frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def label_row(ax: Axes, name: str) -> None:
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)


def by_attack(
    runs: pd.DataFrame,
    attacks: Sequence[str],
    reported: pd.DataFrame | None = None,
) -> Figure:
    """ASR and clean accuracy of every method on every attack: each seed a dot, mean and interval beside them.

    `runs` has columns attack, method, asr_after, clean_accuracy_after and their `_before`; `reported` has attack_key,
    method, acc_percent, asr_percent and is drawn hollow.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9), layout="constrained")
    methods = list(dict.fromkeys(runs["method"]))
    columns = {"asr": "attack success rate (%)", "clean_accuracy": "clean accuracy (%)"}
    published = {"asr": "asr_percent", "clean_accuracy": "acc_percent"}
    for ax, (score, label) in zip(axes, columns.items(), strict=True):
        victims = runs.drop_duplicates(["attack", "seed"])
        for place, attack in enumerate(attacks):
            draw_seeds(ax, victims[victims["attack"] == attack], f"{score}_before", place - 0.27, "victim")
            for number, method in enumerate(methods):
                mine = runs[(runs["attack"] == attack) & (runs["method"] == method)]
                x = place + 0.27 * number
                draw_seeds(ax, mine, f"{score}_after", x, method)
                if reported is not None:
                    rows = reported[(reported["attack_key"] == attack) & (reported["method"] == method)]
                    ax.plot([x + 0.1] * len(rows), rows[published[score]], marker(method), mfc="none",
                            mec=color(method), ms=5)  # fmt: skip
        ax.set(xticks=range(len(attacks)), ylabel=label, ylim=(-2, 102))
        ax.set_xticklabels([attack.replace("_", "-") for attack in attacks])
    legend(axes[1], ["victim", *methods])
    return figure


def draw_seeds(ax: Axes, runs: pd.DataFrame, score: str, x: float, method: str) -> None:
    """The seeds as small dots, and their mean with its interval as one mark."""
    if runs.empty:
        return
    summary = over_seeds(runs, ["attack"], score).iloc[0]
    values = 100 * runs[score]
    ax.plot([x - 0.05] * len(values), values, ".", color=color(method), alpha=0.4, ms=4)
    interval(ax, x + 0.03, summary, method)


def interval(ax: Axes, x: float, summary: pd.Series, method: str) -> None:
    mean, low, high = (100 * summary[name] for name in ("mean", "low", "high"))
    ends = [[mean - max(low, 0)], [min(high, 100) - mean]]
    ax.errorbar([x], [mean], yerr=ends, fmt=marker(method), color=color(method), ms=5, capsize=2, lw=1)


def sweep(runs: pd.DataFrame, parameter: str, label: str) -> Figure:
    """ASR and clean accuracy of every method against one parameter, mean and interval over seeds.

    The parameter's values stand side by side at equal distances, whatever their spacing.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    columns = {"asr_after": "attack success rate (%)", "clean_accuracy_after": "clean accuracy (%)"}
    methods, ticks = list(dict.fromkeys(runs["method"])), sorted(set(runs[parameter]))
    for ax, (score, axis) in zip(axes, columns.items(), strict=True):
        for number, method in enumerate(methods):
            line = over_seeds(runs[runs["method"] == method], [parameter], score).sort_values(parameter)
            places = [ticks.index(value) + 0.06 * number for value in line[parameter]]
            ends = [100 * (line["mean"] - line["low"].clip(0)), 100 * (line["high"].clip(upper=1) - line["mean"])]
            ax.errorbar(places, 100 * line["mean"], yerr=ends, fmt=f"-{marker(method)}",
                        color=color(method), ms=4, capsize=2, lw=1)  # fmt: skip
        ax.set(xlabel=label, ylabel=axis, ylim=(-2, 102), xticks=range(len(ticks)))
        ax.set_xticklabels([f"{tick:g}" for tick in ticks])
    legend(axes[1], methods)
    return figure


def legend(ax: Axes, methods: Sequence[str]) -> None:
    """The methods' marks, to the right of the last panel."""
    handles = [plt.Line2D([], [], color=color(m), marker=marker(m), ls="", ms=5) for m in methods]
    ax.legend(handles, methods, loc="lower right")
