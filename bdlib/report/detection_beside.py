"""VDC beside other detectors of training images: tables and sentences of its chapter, in per cent."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bdlib.experiments.names import attack_name
from bdlib.report.detection import NOISE, mean_text
from bdlib.report.tables import EMPTY, percent

PUBLISHED = {  # how the table of VDC's authors calls the methods of a study
    "VDC": "VDC", "spectral signatures": "SS", "confident learning": "CL", "STRIP": "STRIP",
}  # fmt: skip
MOST = 0.1  # share of the clean images flagged, at which orders are compared
ORDER = f"TPR at {MOST:.0%} FPR (%)".replace("%", " %", 1)


def beside_table(runs: pd.DataFrame, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each attack and detector: TPR and FPR by its own threshold, and TPR where it may flag 10 % of the rest.

    `runs` are those of the study `detectors` of the page `vdc`; intervals are over seeds. `published` are rows of
    `bdlib.experiments.reported`, which get two columns of their own; those of other attacks and methods are left out.
    """
    first = {attack: number for number, attack in enumerate(dict.fromkeys(runs["attack"]))}
    runs = with_order(runs).sort_values("attack", key=lambda names: names.map(first), kind="stable")
    rows = dict[tuple[str, str], dict[str, str]]()
    for (attack, method), mine in runs.groupby(["attack", "method"], sort=False):
        cells = {"TPR (%)": mean_text(mine, "tpr"), "FPR (%)": mean_text(mine, "fpr"), ORDER: mean_text(mine, "order")}
        if published is not None:
            cells |= _reported(published[published["attack_key"] == attack], str(method))
        rows[attack_name(attack), str(method)] = cells | {"seeds": str(mine["seed"].nunique())}
    return _framed(rows, ["attack", "detector"])


def noise_beside_table(runs: pd.DataFrame, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each kind of label noise and detector: TPR and FPR by its own threshold; as `beside_table`.

    `runs` are those of the study `label_noise`.
    """
    rows = dict[tuple[str, str], dict[str, str]]()
    for name in NOISE:
        for method, mine in runs.groupby("method", sort=False):
            cells = {f"{rate.upper()} (%)": mean_text(mine, f"{name}_{rate}") for rate in ("tpr", "fpr")}
            if published is not None:
                cells |= _reported(published[published["attack"].str.startswith(name)], str(method))
            rows[name, str(method)] = cells | {"seeds": str(mine["seed"].nunique())}
    return _framed(rows, ["labels", "detector"])


def _reported(published: pd.DataFrame, method: str) -> dict[str, str]:
    """TPR and FPR of one method on CIFAR-10 as published; empty where nobody has published them."""
    own = published[(published["dataset"] == "CIFAR-10") & (published["defense"] == PUBLISHED.get(method))]
    return {
        f"{rate.upper()}, reported (%)": f"{own.iloc[0][f'{rate}_percent']:.2f}" if len(own) else EMPTY
        for rate in ("tpr", "fpr")
    }


def _framed(rows: Mapping[tuple[str, str], Mapping[str, str]], names: list[str]) -> pd.DataFrame:
    """The rows as a table; one that says so where there are none."""
    if not rows:
        return pd.DataFrame({"TPR (%)": ["not run yet"]}, index=["none"])
    table = pd.DataFrame([*rows.values()])
    table.index = pd.MultiIndex.from_tuples([*rows], names=names)
    return table


def with_order(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with a column `order`: the largest TPR of a threshold that flags at most 10 % of the clean images.

    Detectors have measured it (`found_at_10`); VDC's thresholds are its numbers of agreeing answers.
    """
    return runs.assign(order=[_order_of(row) for row in runs.to_dict("records")])


def _order_of(row: Mapping[Any, Any]) -> float:
    found = row.get(f"found_at_{100 * MOST:g}", math.nan)
    by_votes = [row[f"tpr_{k}"] for k in range(7) if row.get(f"fpr_{k}", math.nan) <= MOST]
    return max(by_votes, default=math.nan) if math.isnan(found) else found


def beside_words(runs: pd.DataFrame) -> str:
    """For each attack the detectors in the order of TPR minus FPR, in points, means over the seeds that each has.

    100 points find all dirty images and nothing else; 0 points are a guess.
    """
    if runs.empty or "tpr" not in runs:
        return "No detector has a record at this scale yet."
    lines = []
    for attack, mine in runs.groupby("attack", sort=False):
        gaps = (mine["tpr"] - mine["fpr"]).groupby(mine["method"]).mean().dropna().sort_values(ascending=False)
        shown = ", ".join(f"{name} {percent(gap)}" for name, gap in gaps.items())
        lines.append(f"- **{attack_name(attack)}**: {shown}.")
    return "\n".join(["TPR minus FPR, by each detector's own threshold, in points:", "", *lines])
