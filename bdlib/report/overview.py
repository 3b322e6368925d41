"""The README's picture: what every defense leaves of four attacks on the same victims, at the largest scale run."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bdlib.claims import largest_scale_run
from bdlib.experiments.names import attack_title
from bdlib.report import comparison
from bdlib.report.figures import style, svg

ATTACKS = {key: attack_title(key) for key in ("badnets", "blended", "low_frequency", "sig")}
IMAGES = {"cifar10": "CIFAR-10", "fashion": "Fashion-MNIST", "gtsrb": "GTSRB"}
ASR, ACCURACY = "attack success rate (%), lower is better", "clean accuracy (%)"


def overview(profile: str = "quick") -> Figure:
    """The mean success rate that each method leaves of each attack, and its mean clean accuracy, as colored cells.

    The undefended victims come first, then the methods that repair a model, from the lowest mean success rate to the
    highest, then those that train one. Numbers are per cent, means over the seeds of the committed records.
    """
    repairs, training = comparison.repairs(profile), comparison.in_training(profile)
    parts = [_table(runs).sort_values("mean").drop(columns="mean") for runs in (repairs, training)]
    victims = repairs.drop_duplicates(["attack", "seed"]).assign(method="no defence")
    before = {"asr_after": victims["asr_before"], "clean_accuracy_after": victims["clean_accuracy_before"]}
    table = 100 * pd.concat([_table(victims.assign(**before)).drop(columns="mean"), *parts])
    figure, axes = plt.subplots(1, 2, figsize=(7, 4.6), sharey=True, layout="constrained", width_ratios=(4, 1.1))
    cells = {"annot": True, "fmt": ".0f", "cbar": False, "linewidths": 0.5}
    sns.heatmap(table[list(ATTACKS.values())], ax=axes[0], cmap="Reds", vmin=0, vmax=120, **cells)
    sns.heatmap(table[["mean of four"]], ax=axes[1], cmap="Greens", vmin=50, vmax=120, **cells)
    for ax, title in zip(axes, (ASR, ACCURACY), strict=True):
        ax.set(title=title, xlabel="", ylabel="")
        ax.tick_params(length=0, labelrotation=0)
        for line in (1, len(table) - len(parts[1])):  # below the victims, and above the methods that train
            ax.axhline(line, color="white", lw=4)
    seeds = pd.concat([repairs, training]).groupby(["method", "attack"])["seed"].nunique()
    number = str(seeds.min()) if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    images, network = repairs.iloc[0][["dataset", "model"]]
    figure.suptitle(f"{IMAGES[images]}, {network}, profile {profile}; means of {number} seeds", fontsize="medium")
    return figure


def overview_svg(profile: str | None = None) -> bytes:
    """The picture as an SVG file, by default of the largest scale that was run; equal records give equal bytes."""
    style()
    return svg(overview(profile or largest_scale_run("comparison")))


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean ASR by method and attack, its mean, and the mean clean accuracy."""
    asr = runs.pivot_table(index="method", columns="attack", values="asr_after")[list(ATTACKS)].rename(columns=ATTACKS)
    accuracy = runs.groupby("method")["clean_accuracy_after"].mean()
    return asr.assign(mean=asr.mean(axis=1), **{"mean of four": accuracy}).rename_axis(index=None, columns=None)
