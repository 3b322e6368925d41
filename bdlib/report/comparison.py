"""All chapters' records in one table: the same victims, the same clean images, every defense.

What is joined is checked: records that were not made on the same victim raise `Mismatch` rather than share a table.
"""

import pandas as pd

from bdlib.experiments import notebooks, studies
from bdlib.experiments.names import method_name

PAPERS = ("nad", "rnp", "ar", "nwc", "sau", "npd", "ft_sam")  # post-training defenses, in the book's order
BASELINES = ("fine_tune", "fine_prune", "anp")
IN_TRAINING = ("abl", "pdb")  # these repair nothing: they train a model of their own on the poisoned set
KEYS = {method_name(key): key for key in (*PAPERS, *BASELINES)} | {"ANP by accuracy": "anp"}
KEYS |= {studies.SHARED_CONTROL: "fine_tune"}
KEYS |= {method_name(key): key for key in IN_TRAINING}
METHODS = tuple(KEYS)
SETTING = ("dataset", "data_fraction", "model", "target_label", "victim_epochs", "victim_batch_size", "clean_fraction")
SCORES = ("clean_accuracy_before", "asr_before", "robust_accuracy_before")
VICTIM = ("poison_rate", *SCORES)
ROUNDING = (
    6e-4  # between a victim's scores by a CPU and by a GPU: seen are one image in 10,000; other trainings exceed it
)


class Mismatch(ValueError):
    """Records that were to be compared were not made on the same victims with the same clean images."""


def setting(paper: str, profile: str) -> dict[str, object]:
    """What all compared runs of a notebook share at a profile."""
    parameters = notebooks.parameters(paper, profile)
    return {name: parameters[name] for name in SETTING if name in parameters}


def chapters(profile: str) -> list[str]:
    """The papers that have a chapter, and whose runs at this profile share the comparison's setting."""
    shared = setting("comparison", profile)
    return [paper for paper in _with_chapter(PAPERS) if setting(paper, profile) == shared]


def _with_chapter(papers: tuple[str, ...]) -> list[str]:
    return [paper for paper in papers if paper in notebooks.papers()]


def repairs(profile: str, study: str = "headline") -> pd.DataFrame:
    """The records of all post-training defenses for one study, `headline` or `clean_model`, on the common seeds.

    A row a run; the methods in the book's order, those without records not at all. Raises Mismatch.
    """
    own = "baselines" if study == "headline" else study
    points = [point for _, point in notebooks.study("comparison", profile, own)]
    seeds = {point["seed"] for point in points}
    shared = studies.load_study("comparison", profile, "shared_control")
    for name, value in setting("comparison", profile).items():  # a chapter's own network or share has its own control
        shared = shared[shared[name] == value]
    shared = shared[shared["attack"].isin({point["attack"] for point in points}) & shared["seed"].isin(seeds)]
    parts = [studies.load_study("comparison", profile, own), shared]
    parts += [_own_runs(paper, profile, study, seeds) for paper in chapters(profile)]
    return same_victims(_joined(parts))


def in_training(profile: str) -> pd.DataFrame:
    """The headline records of the defenses that train, on the repairs' seeds, beside the same undefended victims.

    They share all but the clean images with the repairs: ABL has none, PDB its own share. Raises Mismatch.
    """
    runs, shared = repairs(profile), setting("comparison", profile) | {"clean_fraction": None}
    papers = [p for p in _with_chapter(IN_TRAINING) if setting(p, profile) | {"clean_fraction": None} == shared]
    parts = [_own_runs(paper, profile, "headline", set(runs["seed"])) for paper in papers]
    joined = same_victims(_joined([runs, *parts]), clean_images=False)
    return joined[joined["method"].isin([method_name(key) for key in IN_TRAINING])]


def _own_runs(paper: str, profile: str, study: str, seeds: set[int]) -> pd.DataFrame:
    """The runs of a chapter's own method, not of its controls."""
    runs = studies.load_study(paper, profile, study)
    return runs[(runs["method"] == method_name(paper)) & runs["seed"].isin(seeds)]


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]


def same_victims(runs: pd.DataFrame, *, clean_images: bool = True) -> pd.DataFrame:
    """`runs` in the book's order of methods, once it is sure that those of an attack and seed share setting and victim.

    Without `clean_images` the share of clean images may differ. Raises Mismatch, naming the column and the methods that
    differ, or a method that has two records for one attack and seed.
    """
    shared = [name for name in (*SETTING, *VICTIM) if clean_images or name != "clean_fraction"]
    for (attack, seed), group in runs.groupby(["attack", "seed"], sort=False):
        for column in shared:
            values = group.groupby("method", sort=False)[column].first()
            alike = column in SCORES and values.max() - values.min() < ROUNDING
            if values.nunique(dropna=False) > 1 and not alike:
                listed = ", ".join(f"{method} {value}" for method, value in values.items())
                raise Mismatch(f"{attack}, seed {seed}: {column} differs: {listed}")
        if group["method"].duplicated().any():
            twice = group.loc[group["method"].duplicated(), "method"].iloc[0]
            raise Mismatch(f"{attack}, seed {seed}: two records of {twice}")
    return runs.sort_values("method", key=lambda names: names.map(METHODS.index), kind="stable", ignore_index=True)


def missing(profile: str) -> str:
    """A sentence: which methods are not in `repairs` yet and why, and which have fewer seeds than the others."""
    runs = repairs(profile)
    seeds = runs.groupby("method")["seed"].nunique()
    elsewhere = [method_name(paper) for paper in _with_chapter(PAPERS) if paper not in chapters(profile)]
    known = {*seeds.index, *elsewhere, *map(method_name, IN_TRAINING)}
    absent = [method for method in METHODS if method not in known]
    words = f"No records yet of {', '.join(absent)}." if absent else ""
    if elsewhere:
        words = f"{words} Run at another setting, and so not joined: {', '.join(elsewhere)}.".strip()
    words = words or f"All {len(seeds)} methods are here, on {runs['seed'].nunique()} seeds of every attack."
    return words + "".join(f" {method} has {n} of them." for method, n in seeds.items() if n < runs["seed"].nunique())


def worst_cases(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each method, the lowest worst case first: the attack of which it leaves most, and what it costs.

    Columns attack; asr, the mean over the seeds of this attack; seeds, their number; cost, the accuracy lost on the
    victims as a mean over the attacks. A method that lacks one of the attacks of `runs` is left out, because its worst
    case is not known.

    Example: `worst_cases(repairs("quick")).loc["NAD", "asr"]`
    """
    lost = runs["clean_accuracy_before"] - runs["clean_accuracy_after"]
    cells = runs[["method", "attack", "seed", "asr_after"]].assign(cost=lost)
    cells = cells.groupby(["method", "attack"], sort=False).agg(
        asr=("asr_after", "mean"), seeds=("seed", "nunique"), cost=("cost", "mean")
    )
    rows, attacks = {}, runs["attack"].nunique()
    for method, mine in cells.groupby("method", sort=False):
        if len(mine) == attacks:
            worst = mine.droplevel("method").sort_values("asr").iloc[-1]
            rows[method] = {"attack": worst.name, **worst[["asr", "seeds"]], "cost": mine["cost"].mean()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["attack", "asr", "seeds", "cost"])
    return table.sort_values("asr", kind="stable")
