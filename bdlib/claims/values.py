"""The numbers behind a claim: its readings from the records of a study, paired by group and seed."""

from dataclasses import fields
from typing import Any

import pandas as pd

from bdlib.claims.schema import SHARES, Claim, ClaimError, Reading
from bdlib.experiments import notebooks, records, studies
from bdlib.experiments.victims import VictimConfig

COLUMNS = dict(zip(SHARES, ("clean_accuracy", "asr", "robust_accuracy"), strict=True))
UNMEASURED = {*records.no_runs({}).columns, "method"}  # the columns of a study besides parameters and measures


def claim_values(claim: Claim, runs: pd.DataFrame) -> pd.Series:
    """The claim's number for every group and seed: a series with the index levels `each` (as text) and seed.

    Two readings are paired by group and seed. A reading whose `where` fixes the column `each` is paired with every
    group of the other; where both do, there is one group, named after what they fix. Raises ClaimError.
    """
    if claim.each not in _parameters(runs):
        known = ", ".join(_parameters(runs))
        raise ClaimError(f"{claim.id}: each: {claim.each!r} must be a parameter of the runs: {known}")
    values, other = _read(claim, claim, runs), claim.other
    if other is not None:
        right = _read(claim, other, runs)
        shared = [name for name in (claim.each, "seed") if name in values and name in right]
        values = values.merge(right, on=shared, suffixes=("", "_other"))
        one, two = values["value"], values["value_other"]
        values["value"] = one / two if claim.how == "ratio" else one - two
    if claim.each not in values:
        fixed = [_name(side.where[claim.each]) for side in (claim, other) if side]
        values[claim.each] = " and ".join(dict.fromkeys(fixed))
    return values.set_index([claim.each, "seed"])["value"]


def _read(claim: Claim, reading: Reading, runs: pd.DataFrame) -> pd.DataFrame:
    """A reading's value for each group and seed, or for each seed where it fixes `each`."""
    mine = runs if reading.method == "victim" else runs[runs["method"] == reading.method]
    for name, value in reading.where.items():
        if name not in _parameters(runs):
            known = ", ".join(_parameters(runs))
            raise ClaimError(f"{_place(claim, reading, 'where')}: {name}: no such parameter; there are {known}")
        mine = mine.loc[[recorded == records.cell(value) for recorded in mine[name]]]
    column = _column(claim, reading, mine)
    if column not in mine:  # no run is there yet
        mine = mine.iloc[:0].assign(**{column: pd.Series(dtype=float)})
    mine = mine.assign(**{claim.each: [_name(value) for value in mine[claim.each]]}).dropna(subset=[column])
    groups = mine.groupby(["seed"] if claim.each in reading.where else [claim.each, "seed"], sort=False)
    _refuse_ambiguity(claim, reading, groups)
    return groups[column].mean().astype(float).rename("value").reset_index()


def _column(claim: Claim, reading: Reading, mine: pd.DataFrame) -> str:
    """The column that holds a reading's metric. One that mechanisms measure must have been measured of its runs."""
    metric, method = reading.metric, reading.method
    if metric in COLUMNS:
        return f"{COLUMNS[metric]}_{'before' if method == 'victim' else 'after'}"
    if method == "victim":
        raise ClaimError(f"{_place(claim, reading, 'metric')}: {metric!r} must be {', '.join(SHARES)} for the victim")
    filled = mine.dropna(axis="columns", how="all")
    measured = [str(name) for name in filled if name not in {*_parameters(mine), *UNMEASURED}]
    if len(mine) and metric not in {"der", *records.PASSES, "seconds", *measured}:
        allowed = ", ".join((*SHARES, "der", *records.PASSES, "seconds", *measured))
        raise ClaimError(
            f"{_place(claim, reading, 'metric')}: {metric!r} is not measured of {method}; there are {allowed}"
        )
    return metric


def _refuse_ambiguity(claim: Claim, reading: Reading, groups: Any) -> None:
    """A method has one run for each group and seed. A victim has as many as there were defenses, all of one config."""
    config = {field.name for field in fields(VictimConfig)}
    for key, group in groups:
        if len(group) == 1:
            continue
        names = [name for name in _parameters(group) if name in config or reading.method != "victim"]
        differ = [name for name in names if group[name].astype(str).nunique() > 1]
        if differ or (len(group) > 1 and reading.method != "victim"):
            hint = f"choose by {', '.join(differ) or 'a parameter'}"
            raise ClaimError(f"{_place(claim, reading, 'where')}: {reading} has {len(group)} runs for {key}: {hint}")


def _place(claim: Claim, reading: Reading, key: str) -> str:
    """Which key of the claim is at fault."""
    return f"{claim.id}: {key}" if reading is claim else f"{claim.id}: versus: {key}"


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
    """Raises ClaimError unless some of the study's runs, once they are all there, will answer the claim."""
    plans = [_planned(claim, scale) for scale in claim.scales]
    methods = ["victim", *dict.fromkeys(method for runs in plans for method in runs["method"])]
    for key, reading in (("method", claim), ("versus", claim.other)):
        if reading is not None and reading.method not in methods:
            raise ClaimError(f"{claim.id}: {key}: {reading.method!r} must be one of {', '.join(methods)}")
    if not any(len(claim_values(claim, runs)) for runs in plans):
        readings = " and ".join(str(reading) for reading in (claim, claim.other) if reading)
        raise ClaimError(f"{claim.id}: where: no run of study {claim.study} answers {readings}")


def _planned(claim: Claim, scale: str) -> pd.DataFrame:
    """The study as it will be once all its runs are there, every score and measure being one."""
    points = notebooks.study(claim.paper, scale, claim.study)
    if claim.other and claim.other.method == studies.SHARED_CONTROL:
        own = points[0][1]  # stands for the parameters that only the chapter has
        points += [(method, own | point) for method, point in studies.planned_control(points, scale)]
    rows = [{name: records.cell(value) for name, value in point.items()} for _, point in points]
    scores = records.no_runs(notebooks.parameters(claim.paper, scale)).columns
    measured = {reading.metric for reading in (claim, claim.other) if reading} - {*COLUMNS}
    scored = pd.DataFrame(rows, columns=list(dict.fromkeys([*scores, *measured]))).drop(columns="record").fillna(1.0)
    return scored.assign(method=[method for method, _ in points])
