"""Matrices as pictures: confusion, spectra, credit, losses; and who excites each unit."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from bdlib.report.colors import MEANINGS
from bdlib.report.pictures import WIDTH

Matrix = Float[Tensor, "r c"]


def heatmaps(
    content: Mapping[str, Matrix],
    *,
    x: str = "",
    y: str = "",
    label: str = "",
    log: bool = False,
    diverging: bool = False,
    ends: tuple[float, float] | None = None,
    extent: tuple[float, float, float, float] | None = None,
) -> Figure:
    """A panel for each matrix, all on one color scale, which the bar at the right explains by `label`.

    `log` colors by logarithms, of values above 0; `diverging` from blue by white at 0 to red. `ends` are the scale's
    own, else the smallest and largest value. `extent` gives the axes' ends (left, right, bottom, top); without it they
    have no ticks.
    """
    values = torch.cat([matrix.detach().flatten().cpu().double() for matrix in content.values()])
    low, high = ends or (values.min().item(), values.max().item())
    norm = LogNorm(max(low, 1e-12), max(high, 2e-12)) if log else Normalize(low, high)
    if diverging:
        norm = TwoSlopeNorm(0.0, -max(abs(low), abs(high), 1e-12), max(abs(low), abs(high), 1e-12))
    figure, axes = plt.subplots(
        1, len(content), figsize=(WIDTH, WIDTH / len(content) + 0.1), squeeze=False, layout="constrained"
    )
    for ax, (name, matrix) in zip(axes[0], content.items(), strict=True):
        drawn = ax.imshow(matrix.detach().cpu().numpy(), norm=norm, extent=extent,
                          origin="lower" if extent else "upper", cmap="RdBu_r" if diverging else "viridis")  # fmt: skip
        ax.set(title=name, xlabel=x)
        if extent is None:
            ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    axes[0][0].set_ylabel(y)
    figure.colorbar(drawn, ax=list(axes[0]), label=label, shrink=0.8)
    return figure


def unit_shares(content: Mapping[str, Float[Tensor, "u g"]], groups: Sequence[str], *, x: str, last: str) -> Figure:
    """A panel for each entry: a column for each unit, stacked of the groups' shares, units in the order of the last's.

    The last group, such as the triggered images, has the book's color for it, the others are shades of gray.
    """
    figure, axes = plt.subplots(1, len(content), figsize=(WIDTH, 2.5), squeeze=False, sharey=True, layout="constrained")
    for ax, (name, shares) in zip(axes[0], content.items(), strict=True):
        ordered = shares.detach().cpu()[shares[:, -1].detach().cpu().argsort(descending=True)]
        bottom = torch.zeros(len(ordered))
        for group in reversed(range(len(groups))):
            gray = str(0.66 + 0.26 * group / max(1, len(groups) - 2))
            tint = MEANINGS["triggered"] if group == len(groups) - 1 else gray
            ax.bar(range(len(ordered)), 100 * ordered[:, group], 1.0, bottom=100 * bottom, color=tint, lw=0,
                   label=last if group == len(groups) - 1 else None)  # fmt: skip
            bottom += ordered[:, group]
        ax.set(title=name, xlabel=x, ylim=(0, 100), xlim=(-0.5, len(ordered) - 0.5))
    axes[0][0].set_ylabel("share of the images (%)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper right")  # inside, bars have its color
    return figure
