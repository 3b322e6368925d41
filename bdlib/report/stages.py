"""What combinations of stages leave of an attack, beside their parts: tables and sentences of the survey's pages."""

import pandas as pd

from bdlib.evaluation.metrics import WORKS
from bdlib.experiments import studies
from bdlib.experiments.names import attack_name
from bdlib.report.tables import counted, percent
from bdlib.words import listed

COLUMNS = ["attack", "stages", "ACC (%)", "ASR (%)", "passes forward", "passes backward", "seeds"]


def combinations(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each attack and combination: ACC and ASR in per cent and passes in thousands of images, means.

    `runs` are those of the study `combinations` of the page `survey`. The victim comes first; a repair and a filter
    both need it, and its own training is not counted.
    """
    rows = []
    for attack, group in runs.groupby("attack", sort=False):
        victims = group.drop_duplicates("seed")
        rows.append([attack_name(attack), "victim", percent(victims["clean_accuracy_before"].mean()),
                     percent(victims["asr_before"].mean()), "", "", len(victims)])  # fmt: skip
        for method, mine in group.groupby("method", sort=False):
            work = [f"{mine[f'{way}_passes'].mean() / 1000:,.0f}" for way in ("forward", "backward")]
            rows.append([attack_name(attack), method, percent(mine["clean_accuracy_after"].mean()),
                         percent(mine["asr_after"].mean()), *work, len(mine)])  # fmt: skip
    return pd.DataFrame(rows or [["none", "not run yet", *[""] * 5]], columns=COLUMNS)


def parts_of(method: str) -> list[str]:
    """The stages of a combination by the names of the runs that have each alone.

    Example: `parts_of("filter + ABL")` is `["filter", "ABL"]`.
    """
    return ["filter", "ABL", "FT-SAM"] if method == "all three" else method.split(" + ")


def combination_words(runs: pd.DataFrame) -> str:
    """Sentences of Markdown: whether each combination leaves less than the best of its parts, in points of ASR and ACC.

    A line for each combination and attack, of means over the seeds that have all of the runs.
    """
    scores = runs.pivot_table(index=["attack", "method"], values=["asr_after", "clean_accuracy_after"])
    lines, lower = list[str](), 0
    for attack, method in scores.index:
        parts = [(attack, part) for part in parts_of(method)]
        if len(parts) < 2 or not all(part in scores.index for part in parts):
            continue
        own, alone = scores.loc[(attack, method)], scores.loc[parts]
        gap = 100 * (own["asr_after"] - alone["asr_after"].min())
        lower += gap <= 0
        price = 100 * (own["clean_accuracy_after"] - alone["clean_accuracy_after"].min())
        where = f"{attack_name(attack)}, {method}"
        lines.append(f"- **{where}**: ASR {percent(own['asr_after'])} %, {gap:+.1f} points beside the "
                     f"better of its parts; ACC {price:+.1f} points beside the worse of them.")  # fmt: skip
    if not lines:
        return "No combination has records of all its parts yet."
    head = f"{lower} of {len(lines)} combinations leave no more ASR than the better of their parts"
    if len(lines) == 1:
        more = "no more" if lower else "more"
        head = f"The one combination whose parts were all run leaves {more} ASR than the better of them"
    seeds = counted(runs["seed"].nunique(), "seed")
    return "\n".join([f"{head} ({seeds}; a difference of one seed may be chance).{_weak(runs)}", "", *lines])


def _weak(runs: pd.DataFrame) -> str:
    """A sentence on the attacks that fail on some victim before any defence; empty where there is none."""
    victims = runs.drop_duplicates(["attack", "seed"])
    failed = victims[victims["asr_before"] < WORKS].groupby("attack", sort=False).size()
    if failed.empty:
        return ""
    where = listed([f"{counted(count, 'victim')} of {attack_name(attack)}" for attack, count in failed.items()])
    return (
        f" The attack itself has less than {100 * WORKS:.0f} % ASR on {where}: "
        "where there is little to remove, a combination can show little."
    )


def queries(scale: str) -> pd.DataFrame:
    """What STRIP does at inference, a row for each attack: the detector's rates and its order, means over seeds."""
    runs = studies.load_study("strip", scale, "headline")
    names = {"auroc": "AUROC", "found_at_1": "TPR at 1 % FPR (%)", "tpr": "own threshold: TPR (%)",
             "fpr": "own threshold: FPR (%)", "asr_served": "ASR served (%)"}  # fmt: skip
    rows = []
    for attack, mine in runs.groupby("attack", sort=False):
        known = {heading: mine[column].mean() for column, heading in names.items() if column in mine}
        shown = {name: f"{value:.3f}" if name == "AUROC" else percent(value) for name, value in known.items()}
        asr = percent(mine["asr_before"].mean())
        rows.append({"attack": attack_name(attack), "ASR (%)": asr, **shown, "seeds": len(mine)})
    return pd.DataFrame(rows or [{"attack": "none", "ASR (%)": "not run yet"}])
