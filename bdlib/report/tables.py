"""The chapters' tables, in per cent with one decimal, built from scores and records."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from bdlib.checks import ParameterError
from bdlib.evaluation.metrics import Scores, defense_effectiveness
from bdlib.experiments.names import attack_name as attack_name
from bdlib.experiments.names import method_name as method_name
from bdlib.experiments.records import over_seeds

METRICS = {"ACC (%)": "clean_accuracy", "ASR (%)": "asr", "RA (%)": "robust_accuracy"}
ALL_SCORES = {f"{metric}_after": heading for heading, metric in METRICS.items()}
SCORES = {column: heading for column, heading in ALL_SCORES.items() if heading != "RA (%)"}
SHARES = {"asr", "accuracy", "tpr", "fpr", "auroc", "auc", "precision", "recall", "share", "missed", "found", "asleep",
          "woken", "retuned"}  # fmt: skip
# These words are in the names of measures that lie between 0 and 1, and the next ones in the names of those that do not
CHANGES = {"change", "gain", "excess", "difference", "cost"}
NEVER_NEGATIVE = {"seconds", "passes", "loss", "norm", "entropy"}
CONTROLS = {"control", "random", "no_trigger", "twin", "twin_own", "clean_fit"}  # whole names: re-activation's
EMPTY = ""  # a number that was never run or never published stays empty


def percent(share: float) -> str:
    """A share as per cent with one decimal."""
    return f"{100 * share:.1f}"


def counted(number: int, noun: str) -> str:
    """A number of things, such as "1 seed" and "3 seeds"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def interval_text(row: Mapping[str, float] | pd.Series, *, factor: float = 100.0, digits: int = 1) -> str:
    """Mean and interval of a row of `over_seeds`, such as "3.4 [1.2, 5.6]"; the mean alone where one seed has none."""
    mean, low, high = (f"{factor * row[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return mean if pd.isna(row["low"]) else f"{mean} [{low}, {high}]"


def scores(models: Mapping[str, Scores]) -> pd.DataFrame:
    """ACC, ASR, RA and DER of several models, the first being the undefended victim."""
    victim = next(iter(models.values()))
    rows = {
        name: {heading: percent(getattr(own, metric)) for heading, metric in METRICS.items()}
        | {"DER (%)": percent(defense_effectiveness(victim, own))}
        for name, own in models.items()
    }
    return pd.DataFrame(rows).T


def against_reported(
    here: Mapping[str, Scores], by_scale: Mapping[str, pd.DataFrame], published: pd.DataFrame, *, attack: str,
    robust: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Reported | paper | cifar | quick | this run, a row a method; cells that nobody has run or published are empty.

    `here` holds this run's scores by method; `by_scale` the records of each scale, with a column `method`, as
    `bdlib.experiments.studies.at_all_scales` gives them; `published` the reported rows. A scale at which nothing was
    run has no columns. `robust` adds RA to what was measured here.
    """
    metrics = {heading: metric for heading, metric in METRICS.items() if robust or heading != "RA (%)"}
    published = published.dropna(subset="defense_key")
    published = published[published["attack_key"] == attack]
    rows = {}
    for method, own in here.items():
        cells = {}
        for source, group in published.groupby("source", sort=False):
            row = group[group["defense_key"].map(method_name) == method]
            for name, column in (("ACC (%)", "acc_percent"), ("ASR (%)", "asr_percent")):
                cells[f"reported: {source}", name] = f"{row.iloc[0][column]:.1f}" if len(row) else EMPTY
        for scale, runs in by_scale.items():
            for name, metric in metrics.items():
                cells[f"{scale} scale", name] = _mean_score(runs, attack, method, metric)
        cells |= {("this run", name): percent(getattr(own, metric)) for name, metric in metrics.items()}
        rows[method] = cells
    table = pd.DataFrame(rows).T
    unrun = [f"{scale} scale" for scale in by_scale if (table[f"{scale} scale"] == EMPTY).all().all()]
    return table.drop(columns=unrun, level=0)


def _mean_score(runs: pd.DataFrame, attack: str, method: str, metric: str) -> str:
    """Mean over seeds of a method's score in the records; of the victim's where that is the method."""
    if runs.empty:
        return EMPTY
    mine = runs[(runs["attack"] == attack) & ((runs["method"] == method) | (method == "victim"))]
    return percent(mine[f"{metric}_{'before' if method == 'victim' else 'after'}"].mean()) if len(mine) else EMPTY


def means(runs: pd.DataFrame, by: Sequence[str], columns: Mapping[str, str] = SCORES) -> pd.DataFrame:
    """Means over seeds with 95 % intervals, for every value of the columns `by`: ACC and ASR, or other shares.

    `columns` says which, column -> heading; what records measured inside the models can be among them.
    """
    parts = {
        heading: over_seeds(runs, list(by), column, limits=(0, 1)) for heading, column in _by_heading(columns).items()
    }
    return summary(parts, by)


def measurements(runs: pd.DataFrame, columns: Mapping[str, str], by: Sequence[str], *, digits: int = 2) -> pd.DataFrame:
    """Means over seeds, with 95 % intervals, of what records measured inside the models: column -> heading.

    A cell is empty where nothing was measured; a column that no record has is left out. The interval of a share ends
    at 0 and 1, that of seconds, passes, losses, norms and entropies at 0.
    """
    known = {heading: column for heading, column in _by_heading(columns).items() if column in runs}
    parts = {
        heading: over_seeds(runs.dropna(subset=column), list(by), column, limits=_limits(column, runs[column]))
        for heading, column in known.items()
    }
    rows = over_seeds(runs.assign(row=0.0), list(by), "row")  # of all groups, measured or not
    return summary({"row": rows} | parts, by, factor=1.0, digits=digits)[[*parts]]


def _by_heading(columns: Mapping[str, str]) -> dict[str, str]:
    """Heading -> column. Raises ParameterError for a heading that two columns share: the table would lose one."""
    headings = [*columns.values()]
    for heading in headings:
        if headings.count(heading) > 1:
            raise ParameterError(f"columns: the heading {heading!r} is given twice, and each must have its own")
    return {heading: column for column, heading in columns.items()}


def _limits(column: str, values: pd.Series) -> tuple[float, float] | None:
    """The ends of a measure's range where its name says that it is a share, and no value contradicts it.

    Of a correlation they are always known; seconds, passes, losses, norms and entropies are never below zero.
    """
    words = {*column.split("_")}
    if "correlation" in words:
        return (-1, 1)
    if column not in CONTROLS and words & CHANGES:
        return None
    if (column in CONTROLS or words & SHARES) and values.dropna().between(0, 1).all():
        return (0, 1)
    return (0, math.inf) if words & NEVER_NEGATIVE and values.dropna().ge(0).all() else None


def price(runs: pd.DataFrame) -> pd.DataFrame:
    """Clean accuracy before and after each method on never-poisoned models, and what it cost, in points."""
    before, after = runs["clean_accuracy_before"], runs["clean_accuracy_after"]
    columns = {"ACC before (%)": (before, 0), "ACC after (%)": (after, 0), "cost (points)": (before - after, -1)}
    parts = {
        label: over_seeds(runs.assign(value=values), ["method"], "value", limits=(least, 1))
        for label, (values, least) in columns.items()
    }
    return summary(parts, ["method"])


def summary(
    parts: Mapping[str, pd.DataFrame], by: Sequence[str], *, factor: float = 100.0, digits: int = 1
) -> pd.DataFrame:
    """Summaries of `over_seeds` side by side, a column of text each, then the seeds of the first one.

    A row for each value of the columns `by`, in the order of the first; rows that share the first of `by` together.
    Attacks are called by their names.
    """
    indexed = {heading: part.set_index(list(by)) for heading, part in parts.items()}
    first = next(iter(indexed.values()))
    texts = {
        heading: pd.Series(
            [interval_text(row, factor=factor, digits=digits) for _, row in part.iterrows()], part.index, str
        )
        for heading, part in indexed.items()
    }
    table = pd.DataFrame(texts, index=first.index).fillna(EMPTY).assign(seeds=first["seeds"])
    table = table.loc[list(dict.fromkeys(table.index.get_level_values(0)))]
    return table.rename(index=attack_name, level="attack") if "attack" in by else table


def plain(rows: Mapping[str, Mapping[str, object]], *, digits: int | None = None) -> pd.DataFrame:
    """Rows of named values as a table of text; numbers rounded to `digits` decimals where that is given."""
    table = pd.DataFrame(rows).T
    return table if digits is None else table.map(lambda value: f"{value:.{digits}f}")
