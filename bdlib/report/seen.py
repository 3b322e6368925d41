"""What a table or a figure shows, in a sentence of Markdown computed from what it was drawn from.

The sentences of `bdlib.report.sentences` answer a question about a method; these ones read a table or a figure aloud.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

import pandas as pd

from bdlib.evaluation.metrics import Scores
from bdlib.experiments.names import attack_name, group_name, method_name
from bdlib.experiments.records import over_seeds
from bdlib.report.tables import SCORES, counted, interval_text, percent
from bdlib.words import listed

NOTHING = "No record of these runs at this profile yet: the table or figure is empty."
UNMEASURED = "None of these runs has measured this yet."
TIED = 3  # so many rows that share a number are named


def scored(models: Mapping[str, Scores], *, left_out: Sequence[str] = ()) -> str:
    """What this run leaves of the attack and what it costs, each model beside the first one, the victim.

    Example: ``scored({"victim": before, "NAD": after})``
    """
    (first, victim), *others = models.items()
    parts = [
        f"*{name}* has {percent(own.asr)} % ({100 * (own.clean_accuracy - victim.clean_accuracy):+.1f} points of ACC)"
        for name, own in others
        if name not in left_out
    ]
    rest = f"; {listed(parts)}" if parts else ""
    return f"ASR in this run: the {first} has {percent(victim.asr)} %{rest}. Another seed may give another order."


def extremes(
    runs: pd.DataFrame, by: Sequence[str], columns: Mapping[str, str] = SCORES, *, factor: float = 100.0,
    digits: int = 1,
) -> str:  # fmt: skip
    """For each column, which group has the lowest mean over seeds and which the highest.

    `by` and `columns` are those of the table (`bdlib.report.tables.means` or `measurements`, for which `factor` is 1);
    a heading that ends in (%) has its numbers in per cent. A column that no record has is left out.

    Example: ``extremes(runs, ["attack", "method"])``
    """
    parts, seeds = [], set[int]()
    for column, heading in columns.items():
        if column in runs and runs[column].notna().any():
            table = over_seeds(runs.dropna(subset=column), list(by), column)
            table["name"] = [", ".join(group_name(name, row[name]) for name in by) for _, row in table.iterrows()]
            numbers = dict(zip(table["name"], factor * table["mean"], strict=True))
            parts.append(_least_and_most(heading, numbers, digits))
            seeds |= {*table["seeds"]}
    if not parts:
        return NOTHING if runs.empty else UNMEASURED
    return f"{_over(seeds)}: {'; '.join(parts)}."


def _over(seeds: set[int]) -> str:
    """What numbers are means over, from the numbers of seeds of the groups."""
    if max(seeds) == 1:
        return "One seed"
    return f"Means over {'' if len(seeds) == 1 else f'{min(seeds)} to '}{counted(max(seeds), 'seed')}"


def ranges(rows: Mapping[str, Mapping[str, object]], *, digits: int = 2) -> str:
    """For each column of a table of this run, which row has the smallest number and which the largest.

    Example: ``ranges({"victim": {"distance": 0.2}, "NAD": {"distance": 0.1}})``
    """
    numbers: dict[str, dict[str, float]] = {}
    for name, cells in rows.items():
        for column, cell in cells.items():
            value = pd.to_numeric(str(cell).removesuffix(" %"), errors="coerce")
            if isfinite(value):
                numbers.setdefault(column, {})[name] = float(value)
    parts = [_least_and_most(column, found, digits) for column, found in numbers.items()]
    return f"In this run: {'; '.join(parts)}." if parts else "This run gives no number here."


def trend(runs: pd.DataFrame, parameter: str, label: str) -> str:
    """How far ASR and ACC move from the smallest to the largest value of a parameter, paired by seed.

    `label` names the parameter with its unit, as the axis does. A method with one value is left out.

    Example: ``trend(runs, "percent", "clean images (% of the training set)")``
    """
    parts = []
    for method, mine in runs.groupby("method", sort=False):
        ends = sorted(set(mine[parameter]))
        if len(ends) > 1:
            means = mine.groupby(parameter)["asr_after"].mean()
            moves = [_move(mine, parameter, (ends[0], ends[-1]), column, name) for column, name in _SCORES.items()]
            lowest = f"the lowest mean ASR, {percent(means.min())} %, is at {means.idxmin():g}"
            parts.append(f"*{method}*: {' and '.join(moves)}; {lowest}")
    if not parts:
        return NOTHING if runs.empty else _no_trend(runs[parameter], label)
    first, last = min(runs[parameter]), max(runs[parameter])
    return f"From one end of the axis ({label}) to the other, {first:g} to {last:g}. {'. '.join(parts)}."


def cost(runs: pd.DataFrame) -> str:
    """What each method costs a network that was never poisoned, the cheapest first.

    Example: ``cost(load_study("nad", "quick", "clean_model"))``
    """
    if runs.empty:
        return NOTHING
    lost = runs[["method", "seed"]].assign(cost=runs["clean_accuracy_before"] - runs["clean_accuracy_after"])
    table = over_seeds(lost, ["method"], "cost", limits=(-1, 1)).sort_values("mean")
    costs = listed([f"*{row['method']}* {interval_text(row)}" for _, row in table.iterrows()])
    seeds = int(table["seeds"].min())
    sure = "" if seeds > 1 else " Where there is one seed, there is no interval."
    return f"Points of ACC that a clean twin loses, least first: {costs}.{sure}"


def beside_reported(
    here: Mapping[str, Scores], by_scale: Mapping[str, pd.DataFrame], published: pd.DataFrame, *, attack: str
) -> str:
    """Which rows of the table have a published ASR, and what this run and the largest scale that was run have there.

    The arguments are those of `bdlib.report.tables.against_reported`.
    """
    published = published.dropna(subset=["defense_key", "asr_percent"])
    published = published[published["attack_key"] == attack]
    scale = next((name for name, runs in by_scale.items() if len(runs) and (runs["attack"] == attack).any()), "")
    parts = []
    for method, own in here.items():
        rows = published[published["defense_key"].map(method_name) == method]
        if len(rows):
            reported = " or ".join(dict.fromkeys(f"{value:.1f}" for value in rows["asr_percent"]))
            parts.append(f"*{method}*: published {reported} %, here {percent(own.asr)} %")
    ran = f" The largest scale that has been run on this attack is {scale}." if scale else ""
    if not parts:
        return f"None of these rows has a published ASR for {attack_name(attack)}, so nothing is compared.{ran}"
    return (
        f"ASR, {'; '.join(parts)}. Network, data and schedule differ, so compare whether the ASR falls and not the "
        f"digits.{ran}"
    )


_SCORES = {"asr_after": "ASR", "clean_accuracy_after": "ACC"}


def _no_trend(values: pd.Series, label: str) -> str:
    """Why there is no trend where there are runs."""
    known = sorted(set(values))
    if len(known) > 1:
        return f"No method has been run at two values yet ({label}), so nothing can be said of a trend."
    return f"Only one value has been run yet ({label}: {known[0]:g}), so nothing can be said of a trend."


def _move(runs: pd.DataFrame, parameter: str, ends: tuple[float, float], column: str, name: str) -> str:
    """Where a score begins and ends, and the paired difference with its interval."""
    one, other = (runs[runs[parameter] == end].groupby("seed")[column].mean() for end in ends)
    gaps = (other - one).dropna().rename("gap").reset_index().assign(all=0)
    text = f"the {name} goes from {percent(one.mean())} to {percent(other.mean())} %"
    if gaps.empty:
        return text
    return f"{text} ({interval_text(over_seeds(gaps, ['all'], 'gap', limits=(-1, 1)).iloc[0])} points)"


def _least_and_most(heading: str, numbers: Mapping[str, float], digits: int) -> str:
    """The smallest and the largest of some numbers with their names; one number, or equal ones, are said once."""
    unit = " %" if heading.endswith("(%)") else ""
    name = heading.removesuffix("(%)").strip()
    texts = {key: f"{value:.{digits}f}{unit}" for key, value in numbers.items()}
    low, high = (texts[end(numbers, key=numbers.__getitem__)] for end in (min, max))
    if low == high:
        return f"**{name}** is {low}" + (" everywhere" if len(numbers) > 1 else f" for *{next(iter(numbers))}*")
    return f"**{name}** is lowest for {_who(texts, low)} and highest for {_who(texts, high)}"


def _who(texts: Mapping[str, str], end: str) -> str:
    """Who has the number `end`, and that number; many who share it are counted."""
    names = [f"*{name}*" for name, text in texts.items() if text == end]
    return f"{listed(names) if len(names) <= TIED else f'{len(names)} of {len(texts)}'} ({end})"
