"""What the records say across papers: the page that tells what reproduced and what did not."""

import pandas as pd

from bdlib.claims import SCALES, load_claims
from bdlib.claims.verdicts import VERDICTS, Judgment, judge
from bdlib.experiments import studies
from bdlib.experiments.reported import reported
from bdlib.report import comparison
from bdlib.report.paired import accuracy_and_asr
from bdlib.report.tables import EMPTY, method_name, price

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
    answers = [_largest(claim) for claim in load_claims()]
    parts = []
    for verdict in VERDICTS:
        mine = [(judgment, scale) for judgment, scale in answers if judgment.verdict == verdict]
        if mine:
            parts.append(f"### {verdict.capitalize()}: {len(mine)} of {len(answers)}\n\n{SAID[verdict]}\n")
            parts.append("\n".join(_line(judgment, scale) for judgment, scale in mine) + "\n")
    return "\n".join(parts)


def _largest(claim: object) -> tuple[Judgment, str]:
    """The judgment of a claim at the largest scale where there are runs to answer it."""
    judgments = [(judge(claim, scale), scale) for scale in SCALES]  # type: ignore[arg-type]
    return next((pair for pair in judgments if pair[0].verdict != "not run"), judgments[-1])


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
            rows.append([attack, name, f"{row['acc_percent']:.1f} / {row['asr_percent']:.1f}", *mine.values()])
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
