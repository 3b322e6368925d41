"""What wakes a repaired backdoor, beside its controls: tables, sentences and what the figures of the page draw."""

import re
from collections.abc import Mapping

import pandas as pd

from bdlib.experiments.names import attack_name, method_name
from bdlib.report.tables import percent, plain

COLUMNS = {
    "existence": "coefficient",
    "asleep": "as it is",
    "woken": "woken",
    "control": "highest control",
    "excess": "excess",
}
RETUNING = {
    "retuned": "retuned",
    "retuned_zero": "no poison",
    "retuned_twin": "twin, retuned",
    "retuned_accuracy": "ACC, retuned",
}
WORDS = {
    "asleep": "the repair, as it is",
    "woken": "the repair, with the perturbation",
    "random": "control: with a random one of the same size",
    "no_trigger": "control: the perturbation without the trigger",
    "twin": "control: the same perturbation, on the twin",
    "twin_own": "control: one fitted to the twin, on the twin",
    "clean_fit": "a perturbation fitted to images without the trigger",
    "retuned": "the repair, retuned with poisoned images",
    "retuned_zero": "control: retuned with none",
    "retuned_twin": "control: the twin, retuned with poisoned images",
}
NOT_YET = "No run has been recorded yet."


def controls(measured: Mapping[str, float]) -> pd.DataFrame:
    """One run's shares of triggered images that get the target label, in per cent: both probes and their controls."""
    return plain({words: {"target label (%)": 100 * measured[key]} for key, words in WORDS.items()}, digits=1)


def words(measured: Mapping[str, float]) -> str:
    """One run's outcome in a few sentences.

    Example: `words(measured)` begins "The perturbation raises the ASR from 3.5 % to 6.0 %".
    """
    highest = measured["woken"] - measured["excess"]
    said = [
        f"The perturbation takes the ASR from {percent(measured['asleep'])} % to {percent(measured['woken'])} %. "
        f"The highest of the repair's own ASR and the controls is {percent(highest)} %, so the excess is "
        f"{100 * measured['excess']:.1f} points.",
        f"After retuning with poisoned images the ASR is {percent(measured['retuned'])} %, after the same without any "
        f"{percent(measured['retuned_zero'])} %, and on the twin {percent(measured['retuned_twin'])} %.",
    ]
    if "existence" in measured:
        said.append(f"The backdoor existence coefficient is {measured['existence']:.2f}.")
    return " ".join(said)


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with two columns more: `repair`, as the chapters call it, and `control`, the highest of the controls.

    The controls of the perturbation are the repair as it is, a random perturbation, no trigger, and the clean twin with
    a perturbation of its own.

    Example: `named(studies.load_study("reactivation", "quick", "repairs"))["repair"]`
    """
    runs = runs.assign(repair=[method_name(str(key)) for key in runs["repaired_by"]])
    return runs.assign(control=runs["woken"] - runs["excess"]) if "excess" in runs else runs


def run_words(runs: pd.DataFrame) -> str:
    """What a study's runs say of each repair: mean excess and mean gain of retuning, the sleepiest first."""
    if runs.empty or "excess" not in runs:
        return NOT_YET
    means = named(runs).groupby("repair")[["excess", "retuned_gain"]].mean().sort_values("excess", ascending=False)
    listed = ", ".join(f"{name} {100 * excess:.0f} and {100 * gain:.0f}" for name, excess, gain in means.itertuples())
    return f"Points above the controls, by the perturbation and by retuning, means over attacks and seeds: {listed}."


def bars_of(runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Three mean ASRs of each repair, in per cent, for `plots.bars`; one empty group before there is a run."""
    if runs.empty or "woken" not in runs:
        return {"not run yet": {"as it is": 0.0, "woken": 0.0, "retuned": 0.0}}
    means = named(runs).groupby("repair")[["asleep", "woken", "retuned"]].mean()
    return {
        re.sub("[ -]", "\n", str(name)): {(COLUMNS | RETUNING)[key]: 100 * row[key] for key in row.index}
        for name, row in means.iterrows()
    }


def points_of(runs: pd.DataFrame) -> dict[str, tuple[list[float], list[float]]]:
    """ASR after the repair, in per cent, and the coefficient of each run, by attack, for `plots.clouds`."""
    if runs.empty or "existence" not in runs:
        return {"not run yet": ([], [])}
    present = runs.dropna(subset="existence")
    return {
        attack_name(attack): ((100 * rows["asleep"]).tolist(), rows["existence"].tolist())
        for attack, rows in present.groupby("attack", sort=False)
    }
