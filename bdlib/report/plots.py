"""The kinds of figure that show a mechanism: curves, clouds, histograms and bars.

Each takes a mapping: a panel for each entry, whose title is the key; in the panel a line, cloud or bar for each name.
The legend says which name is which.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bdlib.report.colors import colors
from bdlib.report.pictures import WIDTH

Numbers = Iterable[float] | Tensor
Points = tuple[Numbers, Numbers] | Tensor  # x and y
FILLED: dict[str, Any] = {"alpha": 0.45}
OUTLINE: dict[str, Any] = {"histtype": "step", "lw": 1.5}
LINES = ("-", "--", ":", "-.")


def _panels(
    titles: Sequence[str], height: float, x: str = "", y: str | Sequence[str] = ""
) -> tuple[Figure, list[Axes]]:
    """Axes side by side under their titles, across the text column; one text `y` is for the first of them alone."""
    figure, axes = plt.subplots(1, len(titles), figsize=(WIDTH, height), squeeze=False, layout="constrained")
    labels = [y, *[""] * (len(titles) - 1)] if isinstance(y, str) else y
    for ax, title, label in zip(axes[0], titles, labels, strict=True):
        ax.set(title=title if len(titles) > 1 else "", xlabel=x, ylabel=label)
    return figure, list(axes[0])


def _names_in(content: Mapping[str, Mapping[str, object]]) -> list[str]:
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
    figure, axes = _panels(list(content), 2.7, x, y)
    names = _names_in(content)
    tints = colors(names)
    for ax, lines in zip(axes, content.values(), strict=True):
        for name, (places, heights) in lines.items():
            ax.plot(_floats(places), _floats(heights), LINES[names.index(name) % 4], color=tints[name], label=name,
                    marker=marker, ms=4, lw=1.4)  # fmt: skip
        drawn = any(len(_floats(places)) for places, _ in lines.values())  # a log axis without anything cannot be drawn
        ax.set(ylim=limits, xscale="log" if log_x and drawn else "linear")
    legend_above(figure, axes)
    return figure


def legend_above(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, above them: inside, it would lie on what is drawn."""
    named = {text: mark for ax in axes for mark, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    if named:
        columns = max(1, min(len(named), 100 // (max(map(len, named)) + 6)))  # as many as the width has room for
        figure.legend(named.values(), named, loc="outside upper center", ncols=columns)


def clouds(content: Mapping[str, Mapping[str, Points]], *, x: str, y: str, size: float = 9) -> Figure:
    """A panel for each entry; in it the points of each name, given as (x, y)."""
    figure, axes = _panels(list(content), 2.9, x, y)
    names = _names_in(content)
    tints = colors(names)
    for ax, groups in zip(axes, content.values(), strict=True):
        for name, (across, up) in groups.items():
            shape = "osD^v<>P"[names.index(name) % 8]
            ax.scatter(
                _floats(across), _floats(up), s=size, marker=shape, color=tints[name], alpha=0.65, lw=0, label=name
            )
        ax.set(xlim=_whole_range(x, [numbers for numbers, _ in groups.values()]),
               ylim=_whole_range(y, [numbers for _, numbers in groups.values()]))  # fmt: skip
    if len(names) > 1:
        legend_above(figure, axes)
    return figure


def _whole_range(label: str, groups: Sequence[Numbers]) -> tuple[float, float] | None:
    """The ends of an axis on which all values are the same, if they are per cent or shares; else None."""
    values = {value for group in groups for value in _floats(group)}
    if len(values) != 1:
        return None
    if label.endswith("(%)"):
        return (-2, 102)
    is_share = ("share" in label or "coefficient" in label) and 0 <= values.pop() <= 1
    return (-0.02, 1.02) if is_share else None


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

    Heights are counts, or with `shares` per cent of the name's own values, to compare few with many. Three and more
    are outlines: filled, they would mix to a color of their own.
    """
    figure, axes = _panels(list(content), 2.5, x, y)
    tints = colors(_names_in(content))
    for ax, groups in zip(axes, content.values(), strict=True):
        lists = {name: _floats(group) for name, group in groups.items()}
        values = [value for group in lists.values() for value in group]
        for name, group in lists.items():
            each = [100 / len(group) if shares else 1.0] * len(group)
            ax.hist(group, bins=bins, range=(min(values), max(values)), weights=each, color=tints[name], label=name,
                    **(FILLED if len(lists) < 3 else OUTLINE))  # fmt: skip
        ax.set_yscale("log" if log_y else "linear")
    legend_above(figure, axes)
    return figure


def bars(content: Mapping[str, Mapping[str, float]], *, y: str, limits: tuple[float, float] | None = None) -> Figure:
    """Groups of bars: a group for each entry of `content`, in it a bar for each name."""
    figure, axes = _panels([""], 2.5, y=y)
    names = _names_in(content)
    tints, width = colors(names), 0.8 / len(names)
    for number, name in enumerate(names):
        places = [
            i + (number - (len(names) - 1) / 2) * width for i, group in enumerate(content.values()) if name in group
        ]
        heights = [group[name] for group in content.values() if name in group]
        axes[0].bar(places, heights, width * 0.92, color=tints[name], label=name)
    axes[0].set(ylim=limits, xticks=range(len(content)))
    axes[0].set_xticklabels(list(content))
    if len(names) > 1:
        legend_above(figure, axes)
    return figure


def stacked(content: Mapping[str, Mapping[str, Mapping[str, int]]], *, x: str) -> Figure:
    """A panel for each entry; in it a lying bar for each row, made of the counts of each name, written into it."""
    rows = [row for panel in content.values() for row in panel]
    figure, axes = _panels(list(content), 0.9 + 0.3 * len(set(rows)), x)
    names = list(dict.fromkeys(name for panel in content.values() for counts in panel.values() for name in counts))
    tints = colors(names)
    for ax, bar in zip(axes, content.values(), strict=True):
        start = [0] * len(bar)
        for name in names:
            counts = [row.get(name, 0) for row in bar.values()]
            drawn = ax.barh(list(bar), counts, 0.7, left=start, color=tints[name], label=name)
            ax.bar_label(drawn, [str(count or "") for count in counts], label_type="center", fontsize=8, color="black")
            start = [before + count for before, count in zip(start, counts, strict=True)]
        ax.set(xticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return figure


def _floats(numbers: Numbers) -> list[float]:
    return numbers.detach().cpu().flatten().tolist() if isinstance(numbers, Tensor) else list(numbers)
