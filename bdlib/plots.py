"""The kinds of figure that show a mechanism: curves, clouds, histograms and bars, in the style of `bdlib.figures`.

A panel is named by its title; what it holds is named by the legend. One colour for one meaning throughout the book.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bdlib.figures import WIDTH, colour

Numbers = Sequence[float] | Tensor
MEANING = {"clean": "#009E73", "triggered": "#CC79A7", "ACC": "#009E73", "ASR": "#CC79A7", "RA": "#56B4E9",
           "backdoor": "#CC79A7", "other": "#999999", "reproduced": "#009E73", "partly": "#F0E442",
           "not reproduced": "#E69F00", "not run": "#DDDDDD"}  # fmt: skip
OTHERS = ("#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#000000")  # Okabe-Ito
LINES = ("-", "--", ":", "-.")


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: its meaning's where it has one, else the next of the palette that is not taken."""
    known = {n: MEANING[n] if n in MEANING else colour(n) for n in names if n in {*MEANING, "victim", "fine-tuning"}}
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
    content: Mapping[str, Mapping[str, tuple[Numbers, Numbers]]],
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
    tints = colours(names)
    for number, (ax, lines) in enumerate(zip(axes, content.values(), strict=True)):
        for name, (places, heights) in lines.items():
            ax.plot(listed(places), listed(heights), LINES[names.index(name) % 4], color=tints[name], label=name,
                    marker=marker, ms=4, lw=1.4)  # fmt: skip
        label = y if isinstance(y, str) else y[number]
        ax.set(xlabel=x, ylabel=label if number == 0 or not isinstance(y, str) else "", ylim=limits)
        if log_x:
            ax.set_xscale("log")
    axes[-1].legend()
    return figure


def clouds(content: Mapping[str, Mapping[str, tuple[Numbers, Numbers]]], *, x: str, y: str, size: float = 9) -> Figure:
    """A panel for each entry; in it the points of each name, given as (x, y)."""
    figure, axes = panels(list(content), 2.9)
    names = names_in(content)
    tints = colours(names)
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
    content: Mapping[str, Mapping[str, Numbers]], *, x: str, y: str = "filters", bins: int = 20, log_y: bool = False
) -> Figure:
    """A panel for each entry; in it a histogram for each name, over the same bins, drawn as outlines."""
    figure, axes = panels(list(content), 2.5)
    tints = colours(names_in(content))
    for number, (ax, groups) in enumerate(zip(axes, content.values(), strict=True)):
        values = [value for group in groups.values() for value in listed(group)]
        for name, group in groups.items():
            ax.hist(
                listed(group), bins=bins, range=(min(values), max(values)), color=tints[name], alpha=0.45, label=name
            )
        ax.set(xlabel=x, ylabel=y if number == 0 else "", yscale="log" if log_y else "linear")
    axes[-1].legend()
    return figure


def bars(content: Mapping[str, Mapping[str, float]], *, y: str, limits: tuple[float, float] | None = None) -> Figure:
    """Groups of bars: a group for each entry of `content`, in it a bar for each name."""
    figure, axes = panels([""], 2.5)
    names = names_in(content)
    tints, width = colours(names), 0.8 / len(names)
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
    tints = colours(names)
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


def listed(numbers: Numbers) -> list[float]:
    return numbers.detach().cpu().flatten().tolist() if isinstance(numbers, Tensor) else list(numbers)
