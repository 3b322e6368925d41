"""ASR against the poison rate, before and after each defence: a panel an attack, from the board's headline rows."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdlib.attacks import ATTACKS
from bdlib.defenses import DEFENSES
from bdlib.experiments.names import attack_name, method_name
from bdlib.report.colors import OTHERS, VICTIM
from bdlib.report.figures import style, svg

RATES = (0.001, 0.01, 0.05, 0.1)  # of the training images, the ticks
SHAPES = ("o", "s", "^", "D")
LEFT_OUT = ("none", "staged", "vdc")  # of the defences: they have no rows at several rates
LOOKS = {key: (OTHERS[i % len(OTHERS)], SHAPES[i // len(OTHERS)], "-" if i < len(OTHERS) else "--")
         for i, key in enumerate(key for key in DEFENSES if key not in LEFT_OUT)}  # fmt: skip


def rates_svg(table: pd.DataFrame, profile: str) -> bytes:
    """The figure of a profile as an SVG file; equal tables give equal bytes.

    Example: `rates_svg(board_table(), "cifar")`
    """
    style()
    return svg(rates_figure(rates_rows(table, profile)))


def rates_rows(table: pd.DataFrame, profile: str) -> pd.DataFrame:
    """The headline rows of a profile that the figure shows: its usual data set and network, attacks that poison.

    The usual ones are those of most rows. Columns as the board's.
    """
    rows = table[(table["profile"] == profile) & (table["setting"] == "") & table["poison_rate"].gt(0)]
    if rows.empty:
        return rows
    dataset, network = rows.groupby(["dataset", "network"]).size().idxmax()
    return rows[(rows["dataset"] == dataset) & (rows["network"] == network)]


def rates_figure(rows: pd.DataFrame) -> Figure:
    """A panel for each attack that was run, a legend of the defences that were; a rate without a run has no point."""
    attacks = [key for key, attack in ATTACKS.items() if attack.poisons and key in {*rows["attack"]}]
    lines = max(1, math.ceil(len(attacks) / 4))
    figure, axes = plt.subplots(
        lines, 4, figsize=(7, 1.1 + 1.55 * lines), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, attack in zip(axes.flat, attacks, strict=False):
        mine = rows[rows["attack"] == attack]
        for defense, (tint, shape, line) in LOOKS.items():
            _draw(ax, mine[mine["defense"] == defense], color=tint, marker=shape, ls=line, lw=1, ms=3, alpha=0.85)
        _draw(ax, mine[mine["defense"] == "none"], color=VICTIM[0], marker=VICTIM[1], lw=2.5, ms=4.5, zorder=1)
        ax.set(title=attack_name(attack), xscale="log", xlim=(6e-4, 0.16), ylim=(-4, 104))
        ax.set_xticks(RATES, [f"{100 * rate:g}" for rate in RATES])
        ax.minorticks_off()
    for ax in axes.flat[len(attacks) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(0, len(attacks) - 4) : len(attacks)]:  # nothing is below these
        ax.tick_params(labelbottom=True)
    figure.supxlabel("poison rate (% of the training images)", fontsize=9)
    figure.supylabel("attack success rate (%)", fontsize=9)
    drawn = {*rows.loc[rows["attack"].isin(attacks) & rows["asr"].notna(), "defense"]}
    handles = [plt.Line2D([], [], color=VICTIM[0], marker=VICTIM[1], lw=2.5, ms=4.5, label="no defence")]
    handles += [plt.Line2D([], [], color=tint, marker=shape, ls=line, lw=1, ms=3, label=method_name(key))
                for key, (tint, shape, line) in LOOKS.items() if key in drawn]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, **look: Any) -> None:
    """The mean ASR of one defence over the rates, with its interval where there are several seeds."""
    rows = rows.sort_values("poison_rate")
    ax.plot(rows["poison_rate"], 100 * rows["asr"], **look)
    sure = rows.dropna(subset="asr_low")
    ends = (100 * sure["asr_low"], 100 * sure["asr_high"])
    ax.vlines(sure["poison_rate"], *ends, color=look["color"], lw=0.6, alpha=0.5)
