"""Figures and sentences of the chapter on fair regression, from the records of its runs.

Errors are in units of the target's training variance, differences of means in its standard deviation.
"""

from collections.abc import Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bdlib.experiments.records import over_seeds
from bdlib.report.colors import METHOD, colors
from bdlib.report.paired import differences
from bdlib.report.pictures import WIDTH
from bdlib.report.tables import interval_text

MEASURES = {"mse": "mean squared error", "smd": "difference of means (SMD)"}
PARTS = {"train": "training", "test": "test"}


def split_boxes(runs: pd.DataFrame) -> Figure:
    """Boxes of MSE (top) and SMD (bottom) over the splits: a column for each table, a row for each method.

    `runs` is a study as `bdlib.experiments.studies.load_study` gives it. Light boxes are training rows, dark ones test
    rows, from the lower to the upper quartile; whiskers reach to the farthest split.
    """
    names, methods = list(dict.fromkeys(runs["table"])), list(dict.fromkeys(runs["method"]))
    figure, axes = plt.subplots(2, max(len(names), 1), figsize=(WIDTH, 5.6), sharey=True, squeeze=False,
                                layout="constrained")  # fmt: skip
    for row, measure in zip(axes, MEASURES, strict=True):
        for ax, table in zip(row, names, strict=False):
            mine = runs[runs["table"] == table].groupby("method")
            for part, tint, shift in (("train", "#9ecae1", -0.2), ("test", METHOD[0], 0.2)):
                places = [place + shift for place in range(len(methods))]
                least, low, middle, high, most = (mine[f"{measure}_{part}"].quantile(share).reindex(methods)
                                                  for share in (0, 0.25, 0.5, 0.75, 1))  # fmt: skip
                ax.hlines(places, least, most, color=tint, lw=1)
                ax.barh(places, high - low, 0.36, left=low, color=tint, label=f"{PARTS[part]} rows")
                ax.plot(middle, places, "|", color="black", ms=5)
            ax.set(xlabel=measure.upper(), title=table if measure == "mse" else "", xlim=(0, None))
            ax.set_yticks(range(len(methods)), methods)
    if names:
        axes[0, 0].invert_yaxis()  # the panels share it
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def measures_along(runs: pd.DataFrame, parameter: str, label: str, *, log: bool = False) -> Figure:
    """MSE and SMD of every method against one parameter: mean and interval over splits, dashed on training rows."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.0), layout="constrained")
    tints, ticks = colors(list(dict.fromkeys(runs["method"]))), sorted(set(runs[parameter]))
    for ax, (measure, axis) in zip(axes, MEASURES.items(), strict=True):
        for part, dash in zip(PARTS, ("--", "-"), strict=True):
            for method, mine in runs.groupby("method", sort=False):
                line = over_seeds(mine, [parameter], f"{measure}_{part}").sort_values(parameter)
                ends = [line["mean"] - line["low"], line["high"] - line["mean"]]
                ax.errorbar(line[parameter], line["mean"], yerr=ends, fmt=dash, marker="o", ms=3, capsize=2, lw=1.2,
                            color=tints[str(method)], label=f"{method}, {PARTS[part]}")  # fmt: skip
        ax.set(xlabel=label, ylabel=axis, xscale="log" if log and ticks else "linear", ylim=(0, None))
        ax.set_xticks([], minor=True)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if ticks:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def trade_off(paths: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """MSE against SMD along the penalty, a panel for training and one for test rows; means over the splits.

    `paths` has a column `eta`. `ends` are methods that are one point each: no penalty, and exact parity.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9), layout="constrained", sharey=True)
    names = [*dict.fromkeys(paths["method"]), *(f"{name}, no path" for name in dict.fromkeys(ends["method"]))]
    tints, marks = colors(names), "osD^v"
    for ax, (part, title) in zip(axes, PARTS.items(), strict=True):
        for number, (method, mine) in enumerate(paths.groupby("method", sort=False)):
            line = mine.groupby("eta")[[f"smd_{part}", f"mse_{part}"]].mean().sort_index()
            ax.plot(line[f"smd_{part}"], line[f"mse_{part}"], "-" + marks[number], color=tints[str(method)], ms=4,
                    lw=1.2, label=f"{method}, penalty")  # fmt: skip
        for number, (method, mine) in enumerate(ends.groupby("method", sort=False)):
            ax.plot(mine[f"smd_{part}"].mean(), mine[f"mse_{part}"].mean(), "*^"[number % 2], ms=9, mec="black",
                    color=tints[f"{method}, no path"], label=method)  # fmt: skip
        ax.set(xlabel=MEASURES["smd"], ylabel=MEASURES["mse"] if ax is axes[0] else "", title=f"{title} rows")
    axes[1].legend()
    return figure


def price_sentences(runs: pd.DataFrame, *, method: str, free: str, others: Sequence[str]) -> str:
    """What exact parity costs, table by table, and how it compares with other methods; Markdown, from records."""
    if runs.empty:
        return "No record of these runs yet."
    lines = []
    for table, mine in runs.groupby("table", sort=False):
        mean = mine.groupby("method")[["mse_test", "smd_test", "smd_train"]].mean()
        if {method, free} <= set(mean.index):
            lines.append(
                f"- **{table}**: on test rows, SMD {mean.smd_test[free]:.2f} without the constraint and "
                f"{mean.smd_test[method]:.2f} with it; MSE {mean.mse_test[free]:.2f} and {mean.mse_test[method]:.2f}. "
                f"On training rows the SMD is {mean.smd_train[method]:.0e}."
            )
    for other, (score, what) in product(others, (("smd_test", "SMD"), ("mse_test", "MSE"))):
        gaps = differences(runs, method, other, by="table", score=score)
        listed = "; ".join(f"{table} {interval_text(row, factor=1, digits=3)}" for table, row in gaps.iterrows())
        lines.append(f"- *{method}* minus *{other}*, {what} on test rows, paired by split: {listed}.")
    return "\n".join(lines)


def splits_table(runs: pd.DataFrame, by: Sequence[str] = ("table", "method")) -> pd.DataFrame:
    """Mean and half of the 95 % interval of MSE and SMD over the splits, for every value of the columns `by`."""
    columns = {f"{name.upper()}, {title}": f"{name}_{part}" for name in MEASURES for part, title in PARTS.items()}
    parts = {}
    for heading, column in columns.items():
        line = over_seeds(runs, list(by), column).set_index([*by])
        half = (line["high"] - line["low"]) / 2
        parts[heading] = line["mean"].map("{:.2f}".format) + half.map("\u00a0±\u00a0{:.2f}".format)
    shown = pd.DataFrame(parts)
    return shown.loc[list(dict.fromkeys(shown.index.get_level_values(0)))]  # what the first column names, together


def at_equal_unfairness(paths: pd.DataFrame, *, method: str, other: str, smd: float) -> str:
    """A sentence: the MSE of two methods on training rows where their paths, interpolated, have the same SMD."""
    found = []
    for _, mine in paths.groupby("seed"):
        lines = {name: its.sort_values("smd_train") for name, its in mine.groupby("method")}
        if {method, other} <= lines.keys():
            at = {name: np.interp(smd, line["smd_train"], line["mse_train"]) for name, line in lines.items()}
            found.append(at[method] - at[other])
    if not found:
        return f"No split has records of both {method} and {other} yet."
    row = over_seeds(pd.DataFrame({"all": 0, "gap": found}), ["all"], "gap").iloc[0]
    return (
        f"At an SMD of {smd:g} on training rows, interpolated between penalties, the MSE of *{method}* minus that of "
        f"*{other}* is {interval_text(row, factor=1, digits=3)}, over {row['seeds']:.0f} splits."
    )


def size_sentences(times: pd.DataFrame) -> str:
    """How long each way takes at the most rows that it was timed on, and how far the approximation is."""
    lines = []
    for way, mine in times.groupby("way", sort=False):
        last = mine.sort_values("rows").iloc[-1]
        line = f"- {way}: {last['seconds']:.3g} s for {last['rows']:,.0f} training rows"
        known = mine.dropna(subset="gap").sort_values("rows")
        if len(known) and known["gap"].max() > 0:
            far = known.iloc[-1]
            line += (f"; at {far['rows']:,.0f} rows its test predictions differ from the exact ones by "
                     f"{far['gap']:.3f} standard deviations of the target (root mean square)")  # fmt: skip
        lines.append(f"{line}.")
    return "\n".join(lines)
