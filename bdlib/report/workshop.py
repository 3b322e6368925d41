"""The readings of the workshop's tools as tables and sentences: do the victim and the repair differ from the twin?"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from bdlib.experiments.names import group_name
from bdlib.mechanisms.workshop import READINGS, is_seen
from bdlib.report.tables import counted

RULES = {
    "share": "differs from the twin's by 0.2 or more",
    "ratio": "is at least twice, or at most half, the twin's",
    "outlier": "is above 3 where the twin's is not",
}


class Tool(NamedTuple):
    """A tool, and what its number is."""

    name: str
    reading: str


TOOLS = {
    "confusion": Tool("confusion matrix", "share of triggered images in the target's column"),
    "neuron": Tool("neuron activation", "largest change of a feature, in mean features"),
    "change": Tool("trigger-activated change", "largest change of a filter, in mean activations"),
    "purity": Tool("activation distribution", "highest share of triggered images behind a filter"),
    "grad_cam": Tool("Grad-CAM", "AUROC of the mass in the trigger's quadrant"),
    "shapley": Tool("superpixel Shapley", "share of the credit that the trigger's cells have"),
    "frequency": Tool("frequency saliency", "AUROC of the lean to low or high frequencies"),
    "island": Tool("t-SNE", "share of triggered images among a triggered image's neighbours"),
    "lipschitz": Tool("channel Lipschitz bounds", "most outlying channel, in standard deviations"),
    "landscape": Tool("loss landscape", "rise of the loss on a random move"),
    "curvature": Tool("Hessian's top eigenvalue", "largest eigenvalue"),
}


def summary(measured: Mapping[str, float]) -> pd.DataFrame:
    """A row for each tool: its reading of victim, repair and twin, and whether the first two differ from the third.

    `measured` is what `bdlib.mechanisms.workshop` gives; a tool without a reading is left out.
    """
    rows = {}
    for key, tool in TOOLS.items():
        if f"{key}_twin" in measured:
            three = {which: measured[f"{key}_{which}"] for which in ("victim", "repair", "twin")}
            rows[tool.name] = {"reading": tool.reading} | {which: f"{value:.3g}" for which, value in three.items()}
            for which in ("victim", "repair"):
                seen = is_seen(key, three[which], three["twin"])
                rows[tool.name][f"{which} differs"] = "yes" if seen else "no"
    return pd.DataFrame.from_dict(rows, orient="index")


def sentence(measured: Mapping[str, float], key: str) -> str:
    """What a tool read, and by its rule whether victim and repair differ from the twin, in words.

    Example: `sentence(measured, "island")` begins "Share of triggered images among ...".
    """
    tool = TOOLS[key]
    if f"{key}_twin" not in measured:
        return f"**{tool.name}** is not read here: the trigger is all over the image, or there is none."
    three = {which: measured[f"{key}_{which}"] for which in ("victim", "repair", "twin")}
    numbers = ", ".join(f"{which} {value:.3g}" for which, value in three.items())
    apart = ["differs" if is_seen(key, three[which], three["twin"]) else "does not differ" for which in three]
    words = f"By this tool the victim {apart[0]} from the twin, and the repair {apart[1]}"
    return f"{tool.reading[0].upper()}{tool.reading[1:]}: {numbers}. {words}: a reading counts if it {_rule(key)}."


def _rule(key: str) -> str:
    return RULES[READINGS[key].rule]


def seen_over_runs(runs: pd.DataFrame, groups: str = "attack") -> pd.DataFrame:
    """In how many runs a tool told the victim / the repair from the twin, by group, such as "3 of 3 / 0 of 3".

    `runs` are those of a study of the page, with a column for each number that was measured.
    """
    table: dict[str, dict[str, str]] = {}
    for group, rows in runs.groupby(groups, sort=False):
        for key, tool in TOOLS.items():
            names = [f"{key}_{which}" for which in ("victim", "repair", "twin")]
            present = rows[names].dropna() if set(names) <= set(rows) else pd.DataFrame(columns=names)
            counts = [
                sum(is_seen(key, row[name], row[names[2]]) for _, row in present.iterrows()) for name in names[:2]
            ]
            words = " / ".join(f"{count} of {len(present)}" for count in counts)
            table.setdefault(tool.name, {})[group_name(groups, group)] = words if len(present) else "no place"
    return pd.DataFrame.from_dict(table, orient="index")


def tells_apart(runs: pd.DataFrame, key: str) -> list[bool]:
    """Run by run, whether a tool told the victim from the twin; only of the runs that it could read."""
    names = [f"{key}_victim", f"{key}_twin"]
    present = runs[names].dropna() if {*names} <= {*runs} else pd.DataFrame()
    return [is_seen(key, *row) for row in present.itertuples(index=False)]


def always_and_never(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The tools that told the victim from the twin in every run that they could read, and those that did so in none."""
    told = {tool.name: tells_apart(runs, key) for key, tool in TOOLS.items()}
    always = [name for name, seen in told.items() if seen and all(seen)]
    return always, [name for name, seen in told.items() if seen and not any(seen)]


def seen_words(runs: pd.DataFrame) -> str:
    """Which tools told the victim from the twin in every run, and which in none; of the runs that they could read."""
    if runs.empty:
        return "No run has been recorded yet."
    always, never = always_and_never(runs)
    return (f"Of {counted(len(runs), 'run')}, these told the victim from the twin in all that they could read: "
            f"{', '.join(always) or 'no tool'}. These did so in none: {', '.join(never) or 'no tool'}.")  # fmt: skip
