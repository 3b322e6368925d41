"""The kinds of figure that show a mechanism: curves, clouds, histograms and bars, in the style of `bdlib.figures`.

A panel is named by its title; what it holds is named by the legend. One color for one meaning throughout the book.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from bdlib.report.figures import STYLES, WIDTH, color

Numbers = Iterable[float] | Tensor
Points = tuple[Numbers, Numbers] | Tensor  # x and y
MEANING = {"clean": "#009E73", "triggered": "#CC79A7", "ACC": "#009E73", "ASR": "#CC79A7", "RA": "#56B4E9",
           "backdoor": "#CC79A7", "other": "#999999", "reproduced": "#009E73", "partly": "#F0E442",
           "not reproduced": "#E69F00", "not run": "#DDDDDD", "chance": "#999999"}  # fmt: skip
OTHERS = ("#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#000000")  # Okabe-Ito
LINES = ("-", "--", ":", "-.")


def colors(names: Sequence[str]) -> dict[str, str]:
    """A color for each name: its meaning's where it has one, else the next of the palette that is not taken."""
    known = {n: MEANING[n] if n in MEANING else color(n) for n in names if n in {*MEANING, *STYLES}}
    free = [c for c in OTHERS if c not in known.values()]
    rest = [n for n in names if n not in known]
    return known | {n: free[i % len(free)] for i, n in enumerate(rest)}


def panels(titles: Sequence[str], height: float) -> tuple[Figure, list[Axes]]:
    """Axes side by side under their titles, across the text column."""
    figure, axes = plt.subplots(1, len(titles), figsize=(WIDTH, height), squeeze=False, layout="constrained")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title if len(titles) > 1 else "")
    return figure, list(axes[0])


def names_in(content: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for panel in content.values() for name in panel))


def curves(
    content: Mapping[str, Mapping[str, Points]],
    *,
    x: str,
    y: str | Sequence[str],
    limits: tuple[float, float] | None = None,
    marker: str = "",
    log_x: bool = False,
) -> Figure:
    """A panel for each entry; in it a line for each name, given as (places, heights). Lines differ by dash too."""
    figure, axes = panels(list(content), 2.7)
    names = names_in(content)
    tints = colors(names)
    for number, (ax, lines) in enumerate(zip(axes, content.values(), strict=True)):
        for name, (places, heights) in lines.items():
            ax.plot(listed(places), listed(heights), LINES[names.index(name) % 4], color=tints[name], label=name,
                    marker=marker, ms=4, lw=1.4)  # fmt: skip
        label = y if isinstance(y, str) else y[number]
        ax.set(xlabel=x, ylabel=label if number == 0 or not isinstance(y, str) else "", ylim=limits)
        if log_x:
            ax.set_xscale("log")
    said = set(list(content.values())[-1])
    for ax, lines in zip(axes, content.values(), strict=True):
        if ax is axes[-1] or not set(lines) <= said:  # what the last panel's legend does not say
            ax.legend()
    return figure


def clouds(content: Mapping[str, Mapping[str, Points]], *, x: str, y: str, size: float = 9) -> Figure:
    """A panel for each entry; in it the points of each name, given as (x, y)."""
    figure, axes = panels(list(content), 2.9)
    names = names_in(content)
    tints = colors(names)
    for number, (ax, groups) in enumerate(zip(axes, content.values(), strict=True)):
        for name, (across, up) in groups.items():
            shape = "osD^v<>P"[names.index(name) % 8]
            ax.scatter(
                listed(across), listed(up), s=size, marker=shape, color=tints[name], alpha=0.65, lw=0, label=name
            )
        ax.set(xlabel=x, ylabel=y if number == 0 else "")
    if len(names) > 1:
        axes[-1].legend()
    return figure


def histograms(
    content: Mapping[str, Mapping[str, Numbers]],
    *,
    x: str,
    y: str = "filters",
    bins: int = 20,
    log_y: bool = False,
    shares: bool = False,
) -> Figure:
    """A panel for each entry; in it a histogram for each name, over the same bins.

    Heights are counts, or with `shares` per cent of the name's own values, to compare few with many.
    """
    figure, axes = panels(list(content), 2.5)
    tints = colors(names_in(content))
    for number, (ax, groups) in enumerate(zip(axes, content.values(), strict=True)):
        lists = {name: listed(group) for name, group in groups.items()}
        values = [value for group in lists.values() for value in group]
        for name, group in lists.items():
            each = [100 / len(group) if shares else 1.0] * len(group)
            ax.hist(group, bins=bins, range=(min(values), max(values)), weights=each, color=tints[name],
                    alpha=0.45, label=name)  # fmt: skip
        ax.set(xlabel=x, ylabel=y if number == 0 else "", yscale="log" if log_y else "linear")
    axes[-1].legend()
    return figure


def bars(content: Mapping[str, Mapping[str, float]], *, y: str, limits: tuple[float, float] | None = None) -> Figure:
    """Groups of bars: a group for each entry of `content`, in it a bar for each name."""
    figure, axes = panels([""], 2.5)
    names = names_in(content)
    tints, width = colors(names), 0.8 / len(names)
    for number, name in enumerate(names):
        places = [
            i + (number - (len(names) - 1) / 2) * width for i, group in enumerate(content.values()) if name in group
        ]
        heights = [group[name] for group in content.values() if name in group]
        axes[0].bar(places, heights, width * 0.92, color=tints[name], label=name)
    axes[0].set(ylabel=y, ylim=limits, xticks=range(len(content)))
    axes[0].set_xticklabels(list(content))
    if len(names) > 1:
        axes[0].legend()
    return figure


def stacked(content: Mapping[str, Mapping[str, Mapping[str, int]]], *, x: str) -> Figure:
    """A panel for each entry; in it a lying bar for each row, made of the counts of each name, written into it."""
    rows = [row for panel in content.values() for row in panel]
    figure, axes = panels(list(content), 0.9 + 0.3 * len(set(rows)))
    names = list(dict.fromkeys(name for panel in content.values() for counts in panel.values() for name in counts))
    tints = colors(names)
    for ax, bar in zip(axes, content.values(), strict=True):
        start = [0] * len(bar)
        for name in names:
            counts = [row.get(name, 0) for row in bar.values()]
            drawn = ax.barh(list(bar), counts, 0.7, left=start, color=tints[name], label=name)
            ax.bar_label(drawn, [str(count or "") for count in counts], label_type="center", fontsize=8, color="black")
            start = [before + count for before, count in zip(start, counts, strict=True)]
        ax.set(xlabel=x, xticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return figure


ARROW = {"arrowstyle": "-|>", "lw": 0.8, "color": "black", "shrinkA": 0}


def diagram(model: nn.Module, layer: str, *, inserted: str) -> Figure:
    """The network's stages in a row, and its block around `layer` opened below, with what is `inserted` before it."""
    chain, block = route(model, layer, inserted)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.2 if block else 0.6), layout="constrained")
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.3 if block else 1.75, 2.25))
    ax.axis("off")
    places = boxes(ax, chain, 2.0, (0.0, 1.0), inserted)
    if block:
        stage = places[layer.split(".")[0]]
        for side in (-1, 1):  # lines of sight from the stage to the block drawn large
            ax.plot([stage + side * 0.05, 0.5 + side * 0.55], [1.8, 1.35], ":", color="#999999", lw=1)
            ax.plot([0.5 + side * 0.4] * 2, [0, 1], color="black", lw=0.8)
        for height, steps in zip((1.0, 0.0), block.values(), strict=True):
            boxes(ax, ["", *steps, ""], height, (0.1, 0.9), inserted)
        for tail, head in ((0.03, 0.1), (0.92, 0.99)):
            ax.annotate("", (head, 0.5), (tail, 0.5), arrowprops=ARROW)
        ax.plot([0.9], [0.5], "o", ms=12, mfc="white", mec="black", mew=0.8)
        ax.text(0.9, 0.5, "+", ha="center", va="center", fontsize=9)
    return figure


def route(model: nn.Module, layer: str, inserted: str) -> tuple[list[str], dict[str, list[str]]]:
    """The names behind a diagram: the network's stages in a row, and the two branches of the block that `layer` is in.

    No branches where `layer` is a stage by itself: `inserted` then stands in the row, before it.
    """
    chain = [name for name, _ in model.named_children() if name not in ("normalize", "flatten")]
    outer, _, last = layer.rpartition(".")
    if not outer:
        return [name for step in chain for name in ([inserted, step] if step == last else [step])], {}
    steps = [name for name, _ in model.get_submodule(outer).named_children() if name != "shortcut"]
    steps.insert(steps.index(last), inserted)
    return chain, {"residual": steps, "shortcut": ["shortcut"]}


def boxes(ax: Axes, names: Sequence[str], y: float, ends: tuple[float, float], marked: str) -> dict[str, float]:
    """Named boxes from left to right, joined by arrows, `marked` load_checkpoint; an empty name has no box. Returns places."""
    first, last = ends
    centres = [first + (last - first) * i / max(len(names) - 1, 1) for i in range(len(names))]
    for (left, right), name in zip(pairwise(centres), names[1:], strict=True):
        ax.annotate("", (right, y), (left, y), arrowprops=ARROW | ({"shrinkB": 20} if name else {"arrowstyle": "-"}))
    for name, x in zip(names, centres, strict=True):
        style = {
            "boxstyle": "round,pad=0.4",
            "lw": 0.8,
            "ec": "black",
            "fc": color(name) if name == marked else "white",
        }
        if name:
            ax.text(x, y, name, ha="center", va="center", fontsize=8, bbox=style,
                    color="white" if name == marked else "black")  # fmt: skip
    return dict(zip(names, centres, strict=True))


def listed(numbers: Numbers) -> list[float]:
    return numbers.detach().cpu().flatten().tolist() if isinstance(numbers, Tensor) else list(numbers)
