"""The comparison page's tables: scores of all methods, which pairs of methods differ, and what each costs."""

from itertools import combinations

import pandas as pd

from bdlib.defenses import DEFENSES
from bdlib.evaluation.intervals import LEVEL, paired_p_value
from bdlib.experiments import notebooks
from bdlib.experiments.names import attack_name
from bdlib.experiments.parameters import settings
from bdlib.experiments.records import PASSES
from bdlib.experiments.studies import SHARED_CONTROL
from bdlib.report import tables
from bdlib.report.comparison import BASELINES, KEYS
from bdlib.report.tables import EMPTY

SCORES = {"asr": "asr_after", "clean_accuracy": "clean_accuracy_after", "robust_accuracy": "robust_accuracy_after",
          "der": "der"}  # fmt: skip


def scores(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """Mean and interval of one of SCORES in per cent: a row for the victim and each method, a column an attack."""
    names = ["method", "attack", "seed"]
    parts = [runs[[*names, SCORES[score]]].rename(columns={SCORES[score]: "value"})]
    if score != "der":  # doing nothing always has a DER of one half
        victims = runs.drop_duplicates(["attack", "seed"])[[*names, f"{score}_before"]].assign(method="victim")
        parts.insert(0, victims.rename(columns={f"{score}_before": "value"}))
    both = pd.concat(parts)
    texts = tables.means(both, ["method", "attack"], {"value": "text"})["text"].unstack("attack")
    return (
        texts.rename_axis(index=None, columns=None)
        .reindex(index=both["method"].unique(), columns=[*map(attack_name, both["attack"].unique())])
        .fillna(EMPTY)
    )


def separations(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """Every pair of methods on every attack, compared seed by seed: columns attack, better, worse, separate.

    `better` is the one with the lower mean `asr`, or the higher of any other score. Which pairs separate is decided by
    Student's paired test, corrected for the number of all pairs so that at most one in twenty of those that separate is
    expected to be a mistake (Benjamini and Hochberg's false discovery rate). Pairs without two common seeds are left
    out.
    """
    from scipy.stats import false_discovery_control

    rows, sign = [], -1 if score == "asr" else 1
    for attack, group in runs.groupby("attack", sort=False):
        by_seed = sign * group.pivot(index="seed", columns="method", values=SCORES[score])
        for one, other in combinations(dict.fromkeys(group["method"]), 2):
            gaps = (by_seed[one] - by_seed[other]).dropna().tolist()
            if len(gaps) > 1:
                better, worse = (one, other) if sum(gaps) > 0 else (other, one)
                rows.append({"attack": attack, "better": better, "worse": worse, "chance": paired_p_value(gaps)})
    pairs = pd.DataFrame(rows, columns=["attack", "better", "worse", "chance"])
    adjusted = false_discovery_control(pairs["chance"].to_numpy(dtype=float)) if rows else pairs["chance"]
    return pairs.drop(columns="chance").assign(separate=adjusted <= 1 - LEVEL)


def order(runs: pd.DataFrame, score: str) -> str:
    """What the paired intervals say about rank, in Markdown: for each attack, who is shown to be beaten, and by whom.

    It begins with how many pairs separate, and how many of those are expected to be mistakes at most.
    """
    pairs = separations(runs, score)
    if pairs.empty:
        return "No two methods have records on two common seeds at this profile yet: nothing can be said."
    sure = pairs[pairs["separate"].astype(bool)]
    mistakes = "; at most one in twenty of these is expected to be a mistake" if len(sure) else ""
    lines = [f"Of {len(pairs)} pairs, {len(sure)} separate{mistakes}.", ""]
    for attack, group in runs.groupby("attack", sort=False):
        methods = group.groupby("method")[SCORES[score]].mean().sort_values(ascending=score == "asr").index
        beaten_by = sure[sure["attack"] == attack].groupby("worse")["better"].apply(set).to_dict()
        beaten = [f"{method} (by {', '.join(m for m in methods if m in beaten_by[method])})"
                  for method in methods if method in beaten_by]  # fmt: skip
        unbeaten = ", ".join(method for method in methods if method not in beaten_by)
        words = f"shown to be beaten: {'; '.join(beaten)}. Shown to be beaten by none: {unbeaten}."
        words = words if beaten else "no two methods separate; no order can be given."
        lines.append(f"- **{attack_name(attack)}**: {words}")
    return "\n".join(lines)


def price(runs: pd.DataFrame) -> pd.DataFrame:
    """On never-poisoned models: clean accuracy after each method and what it cost, in points; lowest cost first."""
    cost = (runs["clean_accuracy_before"] - runs["clean_accuracy_after"]).groupby(runs["method"]).mean()
    return tables.price(runs).drop(columns="ACC before (%)").loc[list(cost.sort_values().index)]


def budgets(runs: pd.DataFrame, profile: str, *, images: int) -> pd.DataFrame:
    """What each method spends on `images` clean images: epochs by its settings, passes as counted, and seconds.

    Passes are means over runs, for each clean image: the choice of a rate or a threshold, teachers and inner attacks
    are among them. A cell is empty where they were not counted yet. The minimum of the seconds is least affected by
    other load on the machine.
    """
    rows = {}
    for method, key in KEYS.items():
        mine = runs[runs["method"] == method]
        if mine.empty:
            continue
        seconds = mine["seconds"]
        parameters = notebooks.parameters("comparison" if key in BASELINES else key, profile)
        if method == SHARED_CONTROL:
            parameters["epochs"] = int(mine["epochs"].iloc[0])
        own = settings(DEFENSES[key], parameters)
        epochs = [value for name, value in own.items() if name.endswith("epochs")]
        rows[method] = {
            "epochs": " + ".join(map(str, epochs)),
            "batch size": own["batch_size"],
            **{name.replace("_", " "): _each(mine, name, images) for name in PASSES},
            "seconds (least)": f"{seconds.min():.1f}",
            "seconds (range)": f"{seconds.min():.1f} to {seconds.max():.1f}",
        }
    return pd.DataFrame(rows).T


def _each(runs: pd.DataFrame, column: str, images: int) -> str:
    """The mean of a count of image passes over those runs that have it, for each of the `images`."""
    counted = runs[column].dropna() if column in runs else runs["seconds"].iloc[:0]
    return f"{counted.mean() / images:.1f}" if len(counted) else EMPTY
