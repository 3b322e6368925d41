"""What the records say across papers: the page that tells what reproduced and what did not."""

import pandas as pd

from bdlib.claims import SCALES, largest_judgment, largest_scale_run, load_claims
from bdlib.claims.verdicts import VERDICTS, Judgment
from bdlib.experiments import notebooks, studies
from bdlib.experiments.names import attack_name, group_name, method_name
from bdlib.experiments.reported import reported
from bdlib.report import comparison
from bdlib.report.paired import accuracy_and_asr
from bdlib.report.tables import EMPTY, percent, price

COST = "cost"
SPREAD = 0.2  # a difference of ASR between seeds that is worth a word
SECOND_SCORES = {
    "abl": ("recalibrated_asr", "ASR, BatchNorm recalibrated"),
    "pdb": ("robust_accuracy_after", "RA"),
}
HEADLINES = ("headline", "other_attacks", "baselines")
FINE_TUNING = method_name("fine_tune")
SAID = {  # a verdict as the head of a list
    "reproduced": "These claims hold here, in every group of runs.",
    "partly": "These claims hold for some groups, and fail for others.",
    "not reproduced": "These claims fail here, in every group of runs.",
    "undecided": "The runs cannot decide these: intervals reach to both sides of the bound, or there is one seed.",
    "not testable": "The premise of these claims does not hold here.",
    "not run": "No record answers these yet.",
}


def verdict_lists() -> str:
    """Every claim under its verdict at the largest scale that answers it, as lists in Markdown."""
    answers = [largest_judgment(claim) for claim in load_claims()]
    parts = []
    for verdict in VERDICTS:
        mine = [(judgment, scale) for judgment, scale in answers if judgment.verdict == verdict]
        if mine:
            parts.append(f"### {verdict.capitalize()}: {len(mine)} of {len(answers)}\n\n{SAID[verdict]}\n")
            parts.append("\n".join(_line(judgment, scale) for judgment, scale in mine) + "\n")
    return "\n".join(parts)


def _line(judgment: Judgment, scale: str) -> str:
    measured = "; ".join(judgment.measured)
    found = f" Measured at {scale}: {measured}. Expected: {judgment.claim.expectation}." if measured else ""
    return f"- **{method_name(judgment.claim.paper)}**: {judgment.claim.statement}{found}"


def twin_prices() -> pd.DataFrame:
    """What each method costs a network that was never poisoned, in points of accuracy: a column for each scale."""
    columns: dict[str, pd.Series] = {}
    for scale in SCALES:
        runs = comparison.repairs(scale, "clean_model")
        if len(runs):
            columns[f"cost at {scale} (points)"] = price(runs)["cost (points)"]
    if not columns:
        return pd.DataFrame([["none", "not run yet"]], columns=["method", "cost"])
    return pd.DataFrame(columns).fillna(EMPTY).rename_axis("method").reset_index()


def what_is_left(scale: str | None = None) -> pd.DataFrame:
    """The ASR that each repair leaves of each attack, and what it costs the clean twin; the lowest worst case first.

    Means over seeds in per cent; a star marks fewer than three seeds. Beside the methods of the comparison stand the
    settings that a chapter's headline study tries of its own method; the controls of equal steps do not. The records
    are those of the largest scale of which the comparison has some, or of `scale`.
    """
    scale = scale or largest_scale_run("comparison")
    runs, twins = _every_repair(scale, HEADLINES), _every_repair(scale, ("clean_model",))
    rows = []
    for method, mine in runs.groupby("method", sort=False):
        left = 100 * mine.groupby("attack", sort=False)["asr_after"].mean()
        seeds = mine.groupby("attack")["seed"].nunique()
        row = {"method": str(method), "worst": left.max()}
        row |= {_head(str(attack)): f"{share:.0f}{_star(int(seeds[attack]))}" for attack, share in left.items()}
        own = twins[twins["method"] == method]
        cost = 100 * (own["clean_accuracy_before"] - own["clean_accuracy_after"]).mean()
        rows.append(row | {COST: EMPTY if own.empty else f"{cost:.1f}{_star(own['seed'].nunique())}"})
    if not rows:
        return pd.DataFrame([["none", "not run yet"]], columns=["method", "worst"])
    table = pd.DataFrame(rows).sort_values("worst", kind="stable").fillna(EMPTY)
    stars = {name: table[name].str.endswith("*").sum() for name in table.columns.drop(["method", "worst", COST])}
    attacks = sorted(stars, key=stars.__getitem__)  # those with three seeds first
    return table.assign(worst=table["worst"].map("{:.0f}".format))[["method", "worst", COST, *attacks]]


def _head(attack: str) -> str:
    """An attack's name as the narrow head of a column."""
    return attack_name(attack).replace("-frequency", " freq.")


def _star(seeds: int) -> str:
    return "" if seeds >= 3 else "*"


def worst_cases(scale: str | None = None) -> str:
    """A sentence on `what_is_left`: the repairs that no other beats both in the worst case and in the price."""
    table = what_is_left(scale)
    known = [row for row in table.to_dict("records") if row.get(COST)]
    costs = [float(row[COST].rstrip("*")) for row in known]
    front = [
        f"{row['method']} ({row['worst']} %, {cost:.1f} points)"
        for position, (row, cost) in enumerate(zip(known, costs, strict=True))
        if cost < min(costs[:position], default=float("inf"))
    ]
    if not front:
        return "No repair has been run on a clean twin yet."
    return (
        "No repair in the table is better both in the worst case and in the price than one of these (in brackets: the "
        f"highest ASR that it leaves, and its cost on the clean twin): {', '.join(front)}."
    )


def seed_spreads(scale: str | None = None) -> str:
    """A sentence on the repairs whose outcome depends on the seed: by which attack, and from what ASR to what.

    Named are those with three seeds or more whose highest ASR is more than `SPREAD` above their lowest.
    """
    runs = _every_repair(scale or largest_scale_run("comparison"), HEADLINES)
    spread = []
    for (method, attack), mine in runs.groupby(["method", "attack"], sort=False):
        least, most = mine["asr_after"].min(), mine["asr_after"].max()
        if mine["seed"].nunique() >= 3 and most - least > SPREAD:
            where = group_name("attack", attack)
            spread.append((most - least, f"{method} on {where} ({percent(least)} to {percent(most)})"))
    if not spread:
        return f"No repair with three seeds has two whose ASR differs by more than {100 * SPREAD:.0f} points."
    named = ", ".join(text for _, text in sorted(spread, reverse=True))
    return (
        f"The ASR that these repairs leave, in per cent, differs by more than {100 * SPREAD:.0f} points from one seed "
        f"to another: {named}. One seed of them says little."
    )


def second_scores(scale: str | None = None) -> pd.DataFrame:
    """For the methods that train, the score beside the ASR that says whether the attack is gone, in per cent.

    For PDB that is RA, since a triggered image may get neither the target label nor its own. For ABL it is the ASR
    after BatchNorm's statistics are computed again. A row for each method and attack, at the largest scale of which
    the method has records, or at `scale`; means over seeds, and a star marks fewer than three.
    """
    rows = []
    for paper, (score, heading) in SECOND_SCORES.items():
        of_paper = scale or largest_scale_run(paper)
        runs = studies.load_study(paper, of_paper, "headline")
        for attack, mine in runs[runs["method"] == method_name(paper)].groupby("attack", sort=False):
            star = _star(mine["seed"].nunique())
            left, second = (f"{100 * mine[name].mean():.0f}{star}" for name in ("asr_after", score))
            rows.append([method_name(paper), attack_name(str(attack)), of_paper, left, heading, second])
    columns = ["method", "attack", "scale", "ASR (%)", "second score", "second (%)"]
    return pd.DataFrame(rows or [["none", "not run yet", *[EMPTY] * 4]], columns=columns)


def _every_repair(scale: str, names: tuple[str, ...]) -> pd.DataFrame:
    """The runs of these studies of all repairs, baselines and the shared control, without controls of equal steps."""
    setting = comparison.setting("comparison", scale)
    parts = []
    for paper in ("comparison", *comparison.chapters(scale)):
        for name in {*names} & {*notebooks.studies(paper, scale)}:
            runs = studies.load_study(paper, scale, name)
            parts.append(runs[(runs["method"] != FINE_TUNING) | (paper == "comparison")])
    control = studies.load_study("comparison", scale, "shared_control")
    twin = names == ("clean_model",)
    parts.append(control[(control["attack"] == "none") == twin])
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else parts[0]
    for column, value in setting.items():
        table = table[table[column] == value]
    return table


def beside_benchmark() -> pd.DataFrame:
    """ACC / ASR of BackdoorBench's leaderboard (PreAct-ResNet18, 10 % poison) beside ours, for what both have run."""
    published = reported("backdoorbench").query("dataset_key == 'cifar10' and poison_rate == 0.1")
    ours = {scale: _all_methods(scale) for scale in SCALES}
    rows = []
    for (attack, defense), cell in published.groupby(["attack_key", "defense_key"], sort=False):
        name = method_name(str(defense))
        mine = {scale: _cell(runs, str(attack), name) for scale, runs in ours.items()}
        if any(mine.values()):
            row = cell.iloc[0]
            rows.append(
                [attack_name(attack), name, f"{row['acc_percent']:.1f} / {row['asr_percent']:.1f}", *mine.values()]
            )
    table = pd.DataFrame(rows, columns=["attack", "method", "BackdoorBench", *SCALES])
    return table.drop(columns=[scale for scale in SCALES if not table[scale].any()])


def _all_methods(scale: str) -> pd.DataFrame:
    """The headline runs of repairs and baselines, and of ABL; the victims are in the columns before the defense."""
    parts = [comparison.repairs(scale), studies.load_study("abl", scale, "headline")]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]


def _cell(runs: pd.DataFrame, attack: str, method: str) -> str:
    mine = runs[(runs["attack"] == attack) & ((runs["method"] == method) | (method == "victim"))]
    if mine.empty:
        return EMPTY
    return f"{accuracy_and_asr(mine, 'before' if method == 'victim' else 'after')} ({mine['seed'].nunique()})"
