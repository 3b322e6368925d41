"""The numbers behind a claim: its readings from the records of a study, paired by group and seed."""

import math
from dataclasses import fields
from typing import Any

import pandas as pd

from bdlib.claims.reading import SHARES, Comparison, Reading
from bdlib.claims.schema import CONDITIONS, Claim, ClaimError
from bdlib.experiments import notebooks, records, studies
from bdlib.experiments.victims import VictimConfig

COLUMNS = dict(zip(SHARES, ("clean_accuracy", "asr", "robust_accuracy"), strict=True))
UNMEASURED = {*records.no_runs({}).columns, "method"}  # the columns of a study besides parameters and measures


def claim_values(claim: Claim, runs: pd.DataFrame, condition: str | None = None) -> pd.DataFrame:
    """The claim's number for every group and seed, or that of its "premise" or "floor".

    The table has the index levels `each` (as text) and seed, and the columns value, least and most: the last two are
    the ends of the range in which the number lies whatever a run gives. Two readings are paired by group and seed. A
    reading whose `where` fixes the column `each` is paired with every group of the other; where both do, there is one
    group, named after what they fix. A correlation is one number for all groups of a seed. Raises ClaimError.
    """
    if claim.each not in _parameters(runs):
        known = ", ".join(_parameters(runs))
        raise ClaimError(f"{claim.id}: each: {claim.each!r} must be a parameter of the runs: {known}")
    asked = (claim.condition(condition) if condition else None) or claim
    place = f"{claim.id}: {condition}" if condition else claim.id
    values, other = _read(claim.each, asked, runs, place), asked.other
    values["least"], values["most"] = _range(asked, asked, values["value"])
    if other is not None:
        right = _read(claim.each, other, runs, f"{place}: versus")
        right["least"], right["most"] = _range(asked, other, right["value"])
        shared = [name for name in (claim.each, "seed") if name in values and name in right]
        both = values.merge(right, on=shared, suffixes=("", "_other"))
        if asked.how == "correlation":
            return _rank_correlations(claim.each, both)
        values = _compared(asked.how, both)
    if claim.each not in values:
        fixed = [_name(side.where[claim.each]) for side in (asked, other) if side]
        values[claim.each] = " and ".join(dict.fromkeys(fixed))
    return values.set_index([claim.each, "seed"])[["value", "least", "most"]]


def _rank_correlations(each: str, both: pd.DataFrame) -> pd.DataFrame:
    """Spearman's coefficient of the two readings over the groups of a seed, for every seed that has three or more."""
    ranked = {seed: its[["value", "value_other"]].rank() for seed, its in both.groupby("seed") if len(its) > 2}
    index = pd.MultiIndex.from_tuples([(f"over {each}s", seed) for seed in ranked], names=[each, "seed"])
    found = pd.DataFrame({"value": [ranks.corr().iloc[0, 1] for ranks in ranked.values()]}, index, dtype=float)
    return found.assign(least=-1.0, most=1.0)


def _compared(how: str, both: pd.DataFrame) -> pd.DataFrame:
    """Difference or ratio of two readings, with the range that follows from theirs."""
    if how == "difference":
        both["value"] -= both["value_other"]
        both["least"], both["most"] = both["least"] - both["most_other"], both["most"] - both["least_other"]
        return both
    both["value"] /= both["value_other"]
    shares = (both["least"] >= 0) & (both["most_other"] < math.inf)
    both["most"] = (both["most"] / both["least_other"]).where(shares, math.inf)  # infinite where divided by zero
    both["least"] = (both["least"] / both["most_other"]).where(shares, -math.inf)
    return both


def _range(asked: Comparison, reading: Reading, values: pd.Series) -> tuple[Any, Any]:
    """The least and the most that a reading can be: the ends of a share, a difference of shares, or a correlation.

    Of the victim of a defense, which is given, they are its value itself.
    Victims alone, or compared with each other, are what the claim is about: their scores are as uncertain as others.
    """
    others = {side.method for side in (asked, asked.other) if side} - {"victim"}
    if reading.method == "victim" and others:
        return values, values
    if reading.metric in {*SHARES, "der"} or asked.is_share or (asked.unit == "points" and asked.how != "value"):
        return 0.0, 1.0
    if asked.unit == "points" or "correlation" in reading.metric:  # measured by the run itself
        return -1.0, 1.0
    return -math.inf, math.inf


def _read(each: str, reading: Reading, runs: pd.DataFrame, place: str) -> pd.DataFrame:
    """A reading's value for each group and seed, or for each seed where it fixes `each`."""
    mine = runs if reading.method == "victim" else runs[runs["method"] == reading.method]
    for name, value in reading.where.items():
        if name not in _parameters(runs):
            known = ", ".join(_parameters(runs))
            raise ClaimError(f"{place}: where: {name}: no such parameter; there are {known}")
        mine = mine.loc[[recorded == records.cell(value) for recorded in mine[name]]]
    column = _column(reading, mine, place)
    if column not in mine:  # no run is there yet
        mine = mine.iloc[:0].assign(**{column: pd.Series(dtype=float)})
    mine = mine.assign(**{each: [_name(value) for value in mine[each]]}).dropna(subset=[column])
    groups = mine.groupby(["seed"] if each in reading.where else [each, "seed"], sort=False)
    _refuse_ambiguity(reading, groups, place)
    return groups[column].mean().astype(float).rename("value").reset_index()


def _column(reading: Reading, mine: pd.DataFrame, place: str) -> str:
    """The column that holds a reading's metric. One that mechanisms measure must have been measured of its runs."""
    metric, method = reading.metric, reading.method
    if metric in COLUMNS:
        return f"{COLUMNS[metric]}_{'before' if method == 'victim' else 'after'}"
    if method == "victim":
        raise ClaimError(f"{place}: metric: {metric!r} must be {', '.join(SHARES)} for the victim")
    filled = mine.dropna(axis="columns", how="all")
    measured = [str(name) for name in filled if name not in {*_parameters(mine), *UNMEASURED}]
    if len(mine) and metric not in {"der", *records.PASSES, "seconds", *measured}:
        allowed = ", ".join((*SHARES, "der", *records.PASSES, "seconds", *measured))
        raise ClaimError(f"{place}: metric: {metric!r} is not measured of {method}; there are {allowed}")
    return metric


def _refuse_ambiguity(reading: Reading, groups: Any, place: str) -> None:
    """A method has one run for each group and seed. A victim has as many as there were defenses, all of one config."""
    if (groups.size() == 1).all():
        return
    config = {field.name for field in fields(VictimConfig)}
    for key, group in groups:
        names = [name for name in _parameters(group) if name in config or reading.method != "victim"]
        differ = [name for name in names if group[name].astype(str).nunique() > 1]
        if differ or (len(group) > 1 and reading.method != "victim"):
            hint = f"choose by {', '.join(differ) or 'a parameter'}"
            raise ClaimError(f"{place}: where: {reading} has {len(group)} runs for {key}: {hint}")


def _name(value: Any) -> str:
    """A parameter's value as the name of a group."""
    if isinstance(value, (list, tuple)):
        return "-".join(_name(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parameters(runs: pd.DataFrame) -> list[str]:
    """The columns of a study that are parameters: those before the scores."""
    names = [str(name) for name in runs.columns]
    return names[: names.index("clean_accuracy_before")]


def check_claim(claim: Claim) -> None:
    """Raises ClaimError unless the study's runs, once all are there, will answer the claim at each of its scales."""
    plans = {scale: planned(claim, scale) for scale in claim.scales}
    methods = ["victim", *dict.fromkeys(method for runs in plans.values() for method in runs["method"])]
    for part in (None, *CONDITIONS):
        asked = claim.condition(part) if part else claim
        if asked is None:
            continue
        place = f"{claim.id}: {part}" if part else claim.id
        for key, reading in (("method", asked), ("versus", asked.other)):
            if reading is not None and reading.method not in methods:
                raise ClaimError(f"{place}: {key}: {reading.method!r} must be one of {', '.join(methods)}")
        readings = " and ".join(str(reading) for reading in (asked, asked.other) if reading)
        answers = {scale: len(claim_values(claim, runs, part)) for scale, runs in plans.items()}
        if not any(answers.values()):
            raise ClaimError(f"{place}: where: no run of study {claim.study} answers {readings}")
        if silent := [scale for scale, runs in plans.items() if len(runs) and not answers[scale]]:
            answered = ", ".join(scale for scale in plans if answers[scale])
            raise ClaimError(
                f"{place}: scales: no run of study {claim.study} at {silent[0]} answers {readings}; allowed: {answered}"
            )


def planned(claim: Claim, scale: str) -> pd.DataFrame:
    """The study as it will be once all its runs are there, every score and measure being one."""
    points = notebooks.study(claim.paper, scale, claim.study)
    if claim.other and claim.other.method == studies.SHARED_CONTROL:
        own = points[0][1]  # stands for the parameters that only the chapter has
        points += [(method, own | point) for method, point in studies.planned_control(points, scale)]
    rows = [{name: records.cell(value) for name, value in point.items()} for _, point in points]
    scores = records.no_runs(notebooks.parameters(claim.paper, scale)).columns
    asked = [claim, *filter(None, map(claim.condition, CONDITIONS))]
    readings = filter(None, [reading for part in asked for reading in (part, part.other)])
    measured = {reading.metric for reading in readings} - {*COLUMNS}
    unscored = {name: 1.0 for name in dict.fromkeys([*scores, *measured]) if not any(name in row for row in rows)}
    scored = pd.DataFrame(rows, columns=list(dict.fromkeys([*scores, *measured]))).assign(**unscored)
    return scored.assign(method=[method for method, _ in points])
