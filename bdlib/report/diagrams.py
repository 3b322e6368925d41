"""The diagram of a network with a layer inserted into it."""

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from bdlib.report.colors import color
from bdlib.report.pictures import WIDTH

ARROW = {"arrowstyle": "-|>", "lw": 0.8, "color": "black", "shrinkA": 0}


def network_diagram(model: nn.Module, layer: str, *, inserted: str) -> Figure:
    """A network's stages in a row; below, drawn large, its block around `layer`, with what is `inserted` before it."""
    chain, block = _route(model, layer, inserted)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.2 if block else 0.6), layout="constrained")
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.3 if block else 1.75, 2.25))
    ax.axis("off")
    places = _draw_boxes(ax, chain, 2.0, (0.0, 1.0), inserted)
    if block:
        stage = places[layer.split(".")[0]]
        for side in (-1, 1):  # lines of sight from the stage to the block drawn large
            ax.plot([stage + side * 0.05, 0.5 + side * 0.55], [1.8, 1.35], ":", color="#999999", lw=1)
            ax.plot([0.5 + side * 0.4] * 2, [0, 1], color="black", lw=0.8)
        for height, steps in zip((1.0, 0.0), block.values(), strict=True):
            _draw_boxes(ax, ["", *steps, ""], height, (0.1, 0.9), inserted)
        for tail, head in ((0.03, 0.1), (0.92, 0.99)):
            ax.annotate("", (head, 0.5), (tail, 0.5), arrowprops=ARROW)
        ax.plot([0.9], [0.5], "o", ms=12, mfc="white", mec="black", mew=0.8)
        ax.text(0.9, 0.5, "+", ha="center", va="center", fontsize=9)
    return figure


def _route(model: nn.Module, layer: str, inserted: str) -> tuple[list[str], dict[str, list[str]]]:
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


def _draw_boxes(ax: Axes, names: Sequence[str], y: float, ends: tuple[float, float], marked: str) -> dict[str, float]:
    """Named boxes from left to right, joined by arrows; `marked` is filled, an empty name has none. Returns their x."""
    first, last = ends
    centers = [first + (last - first) * i / max(len(names) - 1, 1) for i in range(len(names))]
    for (left, right), name in zip(pairwise(centers), names[1:], strict=True):
        ax.annotate("", (right, y), (left, y), arrowprops=ARROW | ({"shrinkB": 20} if name else {"arrowstyle": "-"}))
    for name, x in zip(names, centers, strict=True):
        ink, paper = ("white", color(name)) if name == marked else ("black", "white")
        if name:
            box = {"boxstyle": "round,pad=0.4", "lw": 0.8, "ec": "black", "fc": paper}
            ax.text(x, y, name, ha="center", va="center", fontsize=8, bbox=box, color=ink)
    return dict(zip(names, centers, strict=True))
