"""All chapters' records on one page: the same victims, the same clean images, every defence.

What is joined is checked: records that were not made on the same victim raise `Mismatch` rather than share a table.
"""

from itertools import combinations
from math import ceil

import pandas as pd

from bdlib.defenses import DEFENSES
from bdlib.evaluation.intervals import seed_interval
from bdlib.experiments import notebooks, studies
from bdlib.experiments import run as experiments
from bdlib.experiments.records import over_seeds
from bdlib.report.tables import EMPTY, method_name, summarised, with_interval

PAPERS = ("nad", "rnp", "ar", "nwc", "sau", "npd", "ft_sam")  # post-training defences, in the book's order
BASELINES = ("fine_tune", "fine_prune", "anp")
IN_TRAINING = ("abl", "pdb")  # these repair nothing: they train a model of their own on the poisoned set
KEYS = {method_name(key): key for key in (*PAPERS, *BASELINES)} | {"ANP by accuracy": "anp"}
KEYS |= {method_name(key): key for key in IN_TRAINING}
METHODS = tuple(KEYS)
SETTING = ("dataset", "data_fraction", "model", "target_label", "victim_epochs", "victim_batch_size", "clean_fraction")
VICTIM = ("poison_rate", "clean_accuracy_before", "asr_before", "robust_accuracy_before")
SCORES = {"asr": "asr_after", "clean_accuracy": "clean_accuracy_after", "robust_accuracy": "robust_accuracy_after",
          "der": "der"}  # fmt: skip


class Mismatch(ValueError):
    """Records that were to be compared were not made on the same victims with the same clean images."""


def setting(paper: str, profile: str) -> dict[str, object]:
    """What all compared runs of a notebook share at a profile."""
    given = notebooks.parameters(paper, profile)
    return {name: given[name] for name in SETTING if name in given}


def chapters(profile: str) -> list[str]:
    """The papers that have a chapter, and whose runs at this profile share the comparison's setting."""
    there = [paper for paper in PAPERS if paper in notebooks.papers()]
    return [paper for paper in there if setting(paper, profile) == setting("comparison", profile)]


def together(profile: str, study: str = "headline") -> pd.DataFrame:
    """The records of all methods for one study, `headline` or `clean_model`: a row a run, on the common seeds.

    The methods come in the book's order, those without records not at all. Raises Mismatch.
    """
    own = "baselines" if study == "headline" else study
    seeds = {point["seed"] for _, point in notebooks.study("comparison", profile, own)}
    parts = [studies.load_study("comparison", profile, own)]
    for paper in chapters(profile):
        runs = studies.load_study(paper, profile, study)
        parts.append(runs[(runs["method"] == method_name(paper)) & runs["seed"].isin(seeds)])
    full = [part for part in parts if len(part)]
    return same_victims(pd.concat(full, ignore_index=True)) if full else parts[0]


def in_training(profile: str) -> pd.DataFrame:
    """The headline records of the defences that train, on the page's seeds, beside the same undefended victims.

    They share all but the clean images with the repairs: ABL has none, PDB its own share. Raises Mismatch.
    """
    repairs, parts = together(profile), []
    for paper in (key for key in IN_TRAINING if key in notebooks.papers()):
        if setting(paper, profile) | {"clean_fraction": None} == setting("comparison", profile) | {
            "clean_fraction": None
        }:
            runs = studies.load_study(paper, profile, "headline")
            parts.append(runs[(runs["method"] == method_name(paper)) & runs["seed"].isin(set(repairs["seed"]))])
    full = [part for part in [repairs, *parts] if len(part)]
    joined = same_victims(pd.concat(full, ignore_index=True), clean_images=False) if full else repairs
    return joined[joined["method"].isin([method_name(key) for key in IN_TRAINING])]


def same_victims(runs: pd.DataFrame, *, clean_images: bool = True) -> pd.DataFrame:
    """`runs` in the book's order of methods, once it is sure that those of an attack and seed share setting and victim.

    Without `clean_images` the share of clean images may differ.

    Raises Mismatch, naming the column and the methods that differ, or a method that has two records for one place.
    """
    shared = [name for name in (*SETTING, *VICTIM) if clean_images or name != "clean_fraction"]
    for (attack, seed), group in runs.groupby(["attack", "seed"], sort=False):
        for column in shared:
            values = group.groupby("method", sort=False)[column].first()
            if values.nunique(dropna=False) > 1:
                told = ", ".join(f"{method} {value}" for method, value in values.items())
                raise Mismatch(f"{attack}, seed {seed}: {column} differs: {told}")
        if group["method"].duplicated().any():
            twice = group.loc[group["method"].duplicated(), "method"].iloc[0]
            raise Mismatch(f"{attack}, seed {seed}: two records of {twice}")
    return runs.sort_values("method", key=lambda names: names.map(METHODS.index), kind="stable", ignore_index=True)


def absent(profile: str) -> str:
    """A sentence: which methods are not on the page yet and why, and which have fewer seeds than the others."""
    runs = together(profile)
    have = set(runs["method"])
    elsewhere = [method_name(p) for p in PAPERS if p in notebooks.papers() and p not in chapters(profile)]
    trained = [method_name(paper) for paper in IN_TRAINING]
    due = [m for m in METHODS if m not in have and m not in (*elsewhere, *trained)]
    words = [f"No records yet of {', '.join(due)}." if due else "",
             f"Run at another setting, and so not joined: {', '.join(elsewhere)}." if elsewhere else ""]  # fmt: skip
    said = " ".join(filter(None, words))
    seeds = runs.groupby("method")["seed"].nunique()
    fewer = "".join(f" {m} has {n} of them." for m, n in seeds.items() if n < runs["seed"].nunique())
    return (said or f"All {len(have)} methods are here, on {runs['seed'].nunique()} seeds of every attack.") + fewer


def table(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """Mean and interval of one of SCORES in per cent: a row for the victim and each method, a column an attack."""
    column, rows = SCORES[score], {}
    victims = runs.drop_duplicates(["attack", "seed"]).assign(method="victim")
    if score != "der" and len(runs):  # doing nothing always has a DER of one half
        rows["victim"] = cells(victims, f"{score}_before")
    for method, mine in runs.groupby("method", sort=False):
        rows[str(method)] = cells(mine, column)
    return pd.DataFrame(rows, index=list(dict.fromkeys(runs["attack"]))).T.fillna(EMPTY)


def cells(runs: pd.DataFrame, column: str) -> dict[str, str]:
    spans = over_seeds(runs, ["attack"], column)
    spans = spans.assign(low=spans["low"].clip(lower=0), high=spans["high"].clip(upper=1))
    return {row["attack"]: with_interval(row) for _, row in spans.iterrows()}


def separations(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """Every pair of methods on every attack, compared seed by seed: columns attack, better, worse, separate.

    Two methods separate where the 95 % interval of their paired difference excludes zero; `better` is then the one
    with the lower `asr`, or the higher of any other score. Pairs without two common seeds are left out.
    """
    rows, sign = [], -1 if score == "asr" else 1
    for attack, group in runs.groupby("attack", sort=False):
        by_seed = sign * group.pivot(index="seed", columns="method", values=SCORES[score])
        for one, other in combinations(dict.fromkeys(group["method"]), 2):
            gaps = (by_seed[one] - by_seed[other]).dropna().tolist()
            if len(gaps) > 1:
                mean, low, high = seed_interval(gaps)
                better, worse = (one, other) if mean > 0 else (other, one)
                rows.append({"attack": attack, "better": better, "worse": worse, "separate": low > 0 or high < 0})
    return pd.DataFrame(rows, columns=["attack", "better", "worse", "separate"])


def order(runs: pd.DataFrame, score: str) -> str:
    """What the paired intervals say about rank, in Markdown: for each attack, who is shown to be beaten, and by whom.

    It begins with how many pairs separate, and how many of as many equal pairs would by chance.
    """
    pairs = separations(runs, score)
    if pairs.empty:
        return "No two methods have records on two common seeds at this profile yet: nothing can be said."
    sure = pairs[pairs["separate"].astype(bool)]
    chance = f"{len(pairs) / 20:.0f} would, one in twenty, if all methods were equal"
    lines = [f"Of {len(pairs)} pairs, {len(sure)} separate; {chance}.", ""]
    for attack, group in runs.groupby("attack", sort=False):
        ranked = group.groupby("method")[SCORES[score]].mean().sort_values(ascending=score == "asr").index
        here = sure[sure["attack"] == attack]
        told = [f"{method} (by {', '.join(m for m in ranked if m in set(here.loc[here['worse'] == method, 'better']))})"
                for method in ranked if method in set(here["worse"])]  # fmt: skip
        unbeaten = ", ".join(method for method in ranked if method not in set(here["worse"]))
        lines.append(f"- **{attack}**: " + (f"shown to be beaten: {'; '.join(told)}. Shown to be beaten by none: "
                     f"{unbeaten}." if told else "no two methods separate; no order can be given."))  # fmt: skip
    return "\n".join(lines)


def price(runs: pd.DataFrame) -> pd.DataFrame:
    """On never-poisoned twins: clean accuracy after each method and what it cost, in points; lowest cost first."""
    parts = {"ACC after (%)": runs["clean_accuracy_after"],
             "cost (points)": runs["clean_accuracy_before"] - runs["clean_accuracy_after"]}  # fmt: skip
    over = {label: over_seeds(runs.assign(value=values), ["method"], "value") for label, values in parts.items()}
    if runs.empty:
        return summarised(over, ["method"])
    cost = over["cost (points)"].sort_values("mean")["method"]
    return summarised(over, ["method"]).loc[list(cost)]


def budgets(runs: pd.DataFrame, profile: str, *, images: int) -> pd.DataFrame:
    """What each method spends on `images` clean images: passes and steps by its settings, seconds the least measured.

    Passes are its settings that count epochs, steps the batches in them; a method that stops early takes fewer. The
    least of the seconds is the run that the machine disturbed least.
    """
    rows = {}
    for method, key in KEYS.items():
        mine = runs[runs["method"] == method]["seconds"]
        if mine.empty:
            continue
        given = notebooks.parameters("comparison" if key in BASELINES else key, profile)
        own = {name: given[name] for name in experiments.settings(DEFENSES[key], given) if name in given}
        epochs = [value for name, value in own.items() if name.endswith("epochs")]
        rows[method] = {
            "passes": " + ".join(map(str, epochs)),
            "batch size": own["batch_size"],
            "steps": sum(epochs) * ceil(images / own["batch_size"]),
            "inner steps": own.get("inner_steps", EMPTY),
            "seconds (least)": f"{mine.min():.1f}",
            "seconds (range)": f"{mine.min():.1f} to {mine.max():.1f}",
        }
    return pd.DataFrame(rows).T
