"""The chapters' tables, in per cent with one decimal, built from scores and records."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bdlib.evaluation.intervals import seed_interval
from bdlib.evaluation.metrics import Scores, defense_effectiveness
from bdlib.experiments.records import over_seeds

SCORES = {"clean_accuracy_after": "ACC (%)", "asr_after": "ASR (%)"}
ALL_SCORES = SCORES | {"robust_accuracy_after": "RA (%)"}
EMPTY = ""  # a number that was never run or never published stays empty


def method_name(key: str) -> str:
    """What the chapters call a defence: `nad` is NAD, `ft_sam` is FT-SAM; `none` is the undefended victim."""
    names = {"none": "victim", "fine_tune": "fine-tuning", "fine_prune": "fine-pruning"}
    return names.get(key, key.upper().replace("_", "-"))


def scores(models: Mapping[str, Scores]) -> pd.DataFrame:
    """ACC, ASR, RA and DER of several models, the first being the undefended victim."""
    first = next(iter(models.values()))
    rows = {
        name: {
            "ACC (%)": one(s.clean_accuracy),
            "ASR (%)": one(s.asr),
            "RA (%)": one(s.robust_accuracy),
            "DER": f"{defense_effectiveness(first, s):.3f}",
        }
        for name, s in models.items()
    }
    return pd.DataFrame(rows).T


def against_reported(
    here: Mapping[str, Scores], paper_scale: pd.DataFrame, published: pd.DataFrame, *, attack: str, robust: bool = False
) -> pd.DataFrame:
    """This run | paper scale | reported, a row a method; cells that nobody has run or published are empty.

    `paper_scale` holds records made at the paper profile, with a column `method`; `published` the reported rows.
    `robust` adds RA to what was measured here.
    """
    rows, published = {}, published.dropna(subset="defense_key")
    for method, own in here.items():
        cells = {("this run", "ACC (%)"): one(own.clean_accuracy), ("this run", "ASR (%)"): one(own.asr)}
        if robust:
            cells["this run", "RA (%)"] = one(own.robust_accuracy)
        scored = {"ACC (%)": "clean_accuracy", "ASR (%)": "asr"} | ({"RA (%)": "robust_accuracy"} if robust else {})
        for name, score in scored.items():
            cells["paper scale", name] = measured(paper_scale, attack, method, score)
        for source, rows_of in published[published["attack_key"] == attack].groupby("source", sort=False):
            row = rows_of[rows_of["defense_key"].map(method_name) == method]
            for name, column in (("ACC (%)", "acc_percent"), ("ASR (%)", "asr_percent")):
                cells[f"reported: {source}", name] = f"{row.iloc[0][column]:.1f}" if len(row) else EMPTY
        rows[method] = cells
    return pd.DataFrame(rows).T


def measured(runs: pd.DataFrame, attack: str, method: str, score: str) -> str:
    """Mean over seeds of a method's score in the records; of the victim's where that is the method."""
    if runs.empty:
        return EMPTY
    mine = runs[(runs["attack"] == attack) & ((runs["method"] == method) | (method == "victim"))]
    column = f"{score}_before" if method == "victim" else f"{score}_after"
    return one(mine[column].mean()) if len(mine) else EMPTY


def means(runs: pd.DataFrame, by: Sequence[str], columns: Mapping[str, str] = SCORES) -> pd.DataFrame:
    """Means over seeds with 95 % intervals, for every value of the columns `by`: ACC and ASR, or other shares.

    `columns` says which, column -> heading; what records measured inside the models can be among them.
    """
    parts = {}
    for score, label in columns.items():
        part = over_seeds(runs, list(by), score)
        parts[label] = part.assign(low=part["low"].clip(lower=0), high=part["high"].clip(upper=1))
    return summarised(parts, by)


def verdict(low: float, high: float, method: str, control: str) -> str:
    """Which of two has the lower ASR, when the interval of the difference leaves no doubt."""
    if high < 0:
        return method
    return control if low > 0 else "undecided"


def findings(runs: pd.DataFrame, *, method: str, control: str) -> str:
    """The outcome in sentences, Markdown: for each attack, by how much the method's ASR differs from the control's."""
    if runs.empty:
        return f"No record of {method} at this profile yet: nothing can be said."
    gaps = gap(runs, "asr_after", method, control)
    prices = gap(runs, "clean_accuracy_after", method, control)
    lines = []
    for attack in gaps.index:
        outcome = verdict(gaps.loc[attack, "low"], gaps.loc[attack, "high"], method, control)
        words = "neither is shown to be better" if outcome == "undecided" else f"**{outcome}** removes more"
        lines.append(
            f"- **{attack}**: {words}. ASR, {method} minus {control}: {with_interval(gaps.loc[attack])} points; "
            f"ACC: {with_interval(prices.loc[attack])} points ({gaps.loc[attack, 'seeds']:.0f} paired seeds)."
        )
    wins = sum(": **" + method in line for line in lines)
    if not lines:
        return f"No seed has records of both {method} and {control} yet."
    head = f"Paired over seeds, {method} has a lower ASR than {control} beyond doubt on {wins} of {len(lines)} attacks."
    return "\n".join([head, "", *lines])


def survivors(runs: pd.DataFrame, *, method: str) -> str:
    """A sentence: the attacks in the order of the success rate that a method leaves them."""
    left = runs[runs["method"] == method].groupby("attack")["asr_after"].mean().sort_values(ascending=False)
    if left.empty:
        return f"No record of {method} at this profile yet."
    return f"Mean ASR that {method} leaves: " + ", ".join(f"{name} {one(asr)} %" for name, asr in left.items()) + "."


def findings_table(studies: Mapping[str, pd.DataFrame], *, control: str) -> pd.DataFrame:
    """The headline of several methods: a row for each method and attack, means over seeds and the outcome."""
    rows = []
    for method, runs in studies.items():
        gaps = gap(runs, "asr_after", method, control)
        for attack in gaps.index:
            mine = runs[(runs["attack"] == attack) & (runs["method"] == method)]
            other = runs[(runs["attack"] == attack) & (runs["method"] == control)]
            rows.append({
                "method": method, "attack": attack,
                "victim ACC / ASR": pair(mine, "before"), "control ACC / ASR": pair(other, "after"),
                "method ACC / ASR": pair(mine, "after"),
                "lower ASR": verdict(gaps.loc[attack, "low"], gaps.loc[attack, "high"], method, control),
                "seeds": int(gaps.loc[attack, "seeds"]),
            })  # fmt: skip
    names = ["method", "attack", "victim ACC / ASR", "control ACC / ASR", "method ACC / ASR", "lower ASR", "seeds"]
    return pd.DataFrame(rows, columns=names)


def pair(runs: pd.DataFrame, when: str) -> str:
    return f"{one(runs[f'clean_accuracy_{when}'].mean())} / {one(runs[f'asr_{when}'].mean())}"


def gap(runs: pd.DataFrame, score: str, method: str, control: str) -> pd.DataFrame:
    """Method minus control, seed by seed: for each attack the mean, its 95 % interval and the number of seeds."""
    both = [runs[runs["method"] == name].set_index(["attack", "seed"])[score] for name in (method, control)]
    difference = (both[0] - both[1]).dropna().rename("gap").reset_index()
    return over_seeds(difference, ["attack"], "gap").set_index("attack")


def compared(runs: pd.DataFrame, one_column: str, other: str, *, names: tuple[str, str]) -> str:
    """A sentence: by how much one measured share exceeds another, attack by attack, paired by seed, in points."""
    if runs.empty or one_column not in runs:
        return f"No record has measured {names[0]} at this profile yet."
    gaps = over_seeds(runs.assign(gap=runs[one_column] - runs[other]).dropna(subset="gap"), ["attack"], "gap")
    shown = ", ".join(f"{row['attack']} {with_interval(row)}" for _, row in gaps.iterrows())
    higher, lower = int((gaps["low"] > 0).sum()), int((gaps["high"] < 0).sum())
    doubt = f"beyond doubt higher on {higher} of {len(gaps)} attacks, lower on {lower}"
    return f"**{names[0].capitalize()}** minus **{names[1]}**, in points: {shown}; {doubt}."


def same_or_not(runs: pd.DataFrame, one_method: str, other: str) -> str:
    """A sentence: whether two methods gave the same scores on every seed, and if not how far apart they are."""
    scored = ["asr_after", "clean_accuracy_after", "robust_accuracy_after"]
    first, second = (runs[runs["method"] == name].set_index("seed")[scored] for name in (one_method, other))
    if first.empty or second.empty:
        return f"No records of both {one_method} and {other} yet."
    apart = (first - second).abs().max().max()
    if apart == 0:
        return (
            f"On all {len(first)} seeds, *{one_method}* and *{other}* have the same ACC, ASR and RA, to the last digit."
        )
    return f"*{one_method}* and *{other}* differ by up to {100 * apart:.1f} points."


def price(runs: pd.DataFrame) -> pd.DataFrame:
    """Clean accuracy before and after each method on never-poisoned models, and what it cost, in points."""
    columns = {"ACC before (%)": runs["clean_accuracy_before"], "ACC after (%)": runs["clean_accuracy_after"],
               "cost (points)": runs["clean_accuracy_before"] - runs["clean_accuracy_after"]}  # fmt: skip
    parts = {label: over_seeds(runs.assign(value=values), ["method"], "value") for label, values in columns.items()}
    return summarised(parts, ["method"])


def inside(runs: pd.DataFrame, columns: Mapping[str, str], by: Sequence[str], *, digits: int = 2) -> pd.DataFrame:
    """Means over seeds, with 95 % intervals, of what records measured inside the models: column -> heading.

    A cell is empty where nothing was measured; a column that no record has is left out.
    """
    known = {column: heading for column, heading in columns.items() if column in runs}
    rows = {
        key if isinstance(key, tuple) else (key,): {
            heading: interval_of(group[column].dropna().tolist(), digits) for column, heading in known.items()
        }
        for key, group in runs.groupby(list(by), sort=False)
    }
    index = pd.MultiIndex.from_tuples(list(rows), names=list(by)) if rows else None
    table = pd.DataFrame(list(rows.values()), index=index, columns=list(known.values()))
    return table.loc[list(dict.fromkeys(table.index.get_level_values(0)))]  # what belongs together, together


def interval_of(values: list[float], digits: int) -> str:
    """Mean and 95 % interval of a few seeds as text; the mean alone of one seed; empty for none."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else EMPTY
    mean, low, high = (f"{number:.{digits}f}" for number in seed_interval(values))
    return f"{mean} [{low}, {high}]"


def summarised(parts: Mapping[str, pd.DataFrame], by: Sequence[str]) -> pd.DataFrame:
    """Summaries over seeds side by side, one column each, and the number of seeds; a row for each value of `by`."""
    rows = [
        dict(zip(by, key, strict=True))
        | {label: with_interval(part.iloc[number]) for label, part in parts.items()}
        | {"seeds": int(seeds)}
        for number, (*key, seeds) in enumerate(next(iter(parts.values()))[[*by, "seeds"]].itertuples(index=False))
    ]
    table = pd.DataFrame(rows, columns=[*by, *parts, "seeds"]).set_index(list(by))
    return table.loc[list(dict.fromkeys(table.index.get_level_values(0)))]  # what belongs together, together


def plain(rows: Mapping[str, Mapping[str, object]], *, digits: int | None = None) -> pd.DataFrame:
    """Rows of named values as a table of text; numbers rounded to `digits` decimals where that is given."""
    table = pd.DataFrame(rows).T
    return table if digits is None else table.map(lambda value: f"{value:.{digits}f}")


def with_interval(row: pd.Series) -> str:
    """Mean and interval, times a hundred; the mean alone where one seed gives no interval."""
    mean = f"{100 * row['mean']:.1f}"
    return mean if pd.isna(row["low"]) else f"{mean} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def one(share: float) -> str:
    """A share as per cent with one decimal."""
    return f"{100 * share:.1f}"
