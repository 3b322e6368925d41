"""Tables and curves of detectors: TPR and FPR of records beside the published ones."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bdlib.experiments.names import attack_name
from bdlib.experiments.records import over_seeds
from bdlib.report.tables import EMPTY, counted, interval_text, percent

LEARNED = 0.1  # ASR: above it the network has learned something of the trigger
NOISE = ("symmetric", "asymmetric", "hybrid")


def rates_table(runs: pd.DataFrame, published: pd.DataFrame, *, method: str) -> pd.DataFrame:
    """TPR and FPR of each attack in `runs` with intervals over seeds, beside those published for `method`, in per cent.

    `published` are rows of `bdlib.experiments.reported` with the columns tpr_percent and fpr_percent.
    """
    own = published[(published["defense"] == method) & (published["dataset"] == "CIFAR-10")]
    rows = {}
    for attack in dict.fromkeys(runs["attack"]):
        row = own[own["attack_key"] == attack]
        rows[attack_name(attack)] = {
            heading: value
            for rate in ("TPR", "FPR")
            for heading, value in {
                f"{rate}, reported (%)": f"{row.iloc[0][f'{rate.lower()}_percent']:.2f}" if len(row) else EMPTY,
                f"{rate}, here (%)": mean_text(runs[runs["attack"] == attack], rate.lower()),
            }.items()
        } | {"seeds": str(runs[runs["attack"] == attack]["seed"].nunique())}
    return pd.DataFrame(rows).T


def noise_table(runs: pd.DataFrame, published: pd.DataFrame, *, method: str) -> pd.DataFrame:
    """TPR and FPR under label noise, over seeds, beside those published for `method`, in per cent."""
    rows = {}
    for name in NOISE:
        row = published[(published["defense"] == method) & (published["dataset"] == "CIFAR-10")]
        row = row[row["attack"].str.startswith(name)]
        rows[name] = {
            heading: value
            for rate in ("tpr", "fpr")
            for heading, value in {
                f"{rate.upper()}, reported (%)": f"{row.iloc[0][f'{rate}_percent']:.2f}" if len(row) else EMPTY,
                f"{rate.upper()}, here (%)": mean_text(runs, f"{name}_{rate}"),
            }.items()
        }
    return pd.DataFrame(rows).T


def mean_text(runs: pd.DataFrame, column: str) -> str:
    """Mean of a share over seeds with its interval, in per cent; empty where no record has it."""
    if column not in runs or runs[column].dropna().empty:
        return EMPTY
    one_each = runs.dropna(subset=column).groupby("seed", as_index=False)[column].mean()
    return interval_text(over_seeds(one_each.assign(all=""), ["all"], column, limits=(0, 1)).iloc[0])


def kinds_table(runs: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """TPR and FPR by the kind of question. `kinds`: what heads a row -> the prefix of its columns."""
    return pd.DataFrame({
        heading: {f"{rate.upper()} (%)": mean_text(runs, f"{prefix}{rate}") for rate in ("tpr", "fpr")}
        for heading, prefix in kinds.items()
    }).T  # fmt: skip


def over_thresholds(
    runs: pd.DataFrame, questions: int, rates: Sequence[str] = ("tpr", "fpr")
) -> dict[str, tuple[list[float], list[float]]]:
    """Mean TPR and FPR, in per cent, against the number of agreeing answers at which an image is still dirty.

    As `bdlib.report.plots.curves` takes them; nothing where there is no record.
    """
    counts = [k for k in range(questions + 1) if len(runs) and f"tpr_{k}" in runs]
    return {
        rate.upper(): ([float(k) for k in counts], [100 * runs[f"{rate}_{k}"].mean() for k in counts]) for rate in rates
    }


def same_fpr(runs: pd.DataFrame) -> str:
    """A sentence: whether the FPR is the same under every attack that poisons the same images."""
    runs = runs.dropna(subset="fpr") if "fpr" in runs else runs.iloc[:0]
    if runs.empty:
        return "No record of the image recogniser at this profile yet."
    gaps = runs.groupby("seed")["fpr"].agg(lambda values: values.max() - values.min())
    counts = runs.groupby("seed")["attack"].nunique()
    listed = ", ".join(
        f"{100 * gap:.2f} points over {counts[seed]} attacks (seed {seed})"
        for seed, gap in gaps.items()
        if counts[seed] > 1
    )
    if not listed:
        return "No seed has records of two attacks yet."
    return f"Largest difference in FPR between two attacks: {listed}."


def missed_words(runs: pd.DataFrame) -> str:
    """What the runs with oracles of several rates of error say of the poison that a detector may miss.

    `runs` have the columns answer_error, missed (poisoned images) and asr_after.
    """
    asked = f"Rates of error recorded so far: {runs['answer_error'].nunique()}, in {counted(len(runs), 'run')}."
    if not len(runs) or not runs["missed"].any():
        return f"{asked} None of them misses a poisoned image yet."
    asr = runs["asr_after"].max()
    most = f"{runs['missed'].max():.0f} poisoned images"
    text = f"{asked} At most {most} are missed, and at most {percent(asr)} % ASR are left. "
    if asr <= LEARNED:
        return text + "So few do not teach this network the trigger. How many do takes oracles that err more often."
    return text + "Where the cloud turns upward is the number that teaches it; a detector must stay left of it."
