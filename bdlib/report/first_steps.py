"""What the page *Start here* needs beside the library: its parameters, and a look at its two settings.

The page loads a victim of the zoo and embedded images, so nothing is downloaded and no victim is trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import CheckedFields, OneOf, checked
from bdlib.data.datasets import CLASS_NAMES
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import TargetLabel, apply_trigger
from bdlib.evaluation.metrics import Scores, evaluate
from bdlib.experiments.parameters import check_names, injected_names
from bdlib.mechanisms.rnp import without_lowest
from bdlib.models import accuracy, predict
from bdlib.report.colors import MEANINGS, METHOD, VICTIM
from bdlib.report.pictures import WIDTH, example_images
from bdlib.training.filter_masks import Masks
from bdlib.types import Images, Trigger

ATTACKS_SHOWN = dict.fromkeys(("badnets", "blended"))  # those of the zoo's victims of Fashion-MNIST


@dataclass(frozen=True)
class FirstSteps(CheckedFields):
    """The parameters of the page. Raises ParameterError, in one line, for a value that is not allowed.

    Example: ``FirstSteps(attack="blended")``
    """

    attack: Annotated[str, OneOf(ATTACKS_SHOWN)] = "badnets"  # of the zoo's victim
    clean_images: Annotated[int, Field(ge=100, le=6000)] = 300  # of the defender
    filters_pruned: Annotated[int, Field(ge=0, le=672)] = 10  # of the network's 672
    trigger_strength: ranges.Fraction = 1.0  # 0: no trigger; 1: the attack's own
    seed: ranges.Seed = 0  # of the choice of clean images and of the repair

    @classmethod
    def of(cls, namespace: Mapping[str, Any]) -> "FirstSteps":
        """The parameters out of the page's `globals()`. Raises ParameterError, also for a name that papermill made up.

        Example: ``FirstSteps.of(globals())``
        """
        names = [field.name for field in fields(cls)]
        check_names("this notebook", names, injected_names(namespace.get("In", [])))
        return cls(**{name: namespace[name] for name in names if name in namespace})


@checked
def weakened(trigger: Trigger, strength: ranges.Fraction) -> Trigger:
    """The trigger with `strength` of its effect on every pixel: 0 changes nothing, 1 is the trigger itself.

    Example: ``weakened(trigger, 0.5)``
    """

    def weak(images: Images) -> Images:
        return images + strength * (trigger(images) - images)

    return weak


def clean_accuracies(model: nn.Module, masks: Masks, clean: ImageSet, counts: range) -> dict[int, float]:
    """The accuracy on the defender's `clean` images, in [0, 1], for each number of pruned filters in `counts`."""
    return {count: accuracy(without_lowest(model, masks, count), clean) for count in counts}


def largest_allowed(accuracies: Mapping[int, float], allowed_drop: float) -> int:
    """The largest number of pruned filters that costs at most `allowed_drop` of the first accuracy, in [0, 1]."""
    least = next(iter(accuracies.values())) - allowed_drop
    return max(count for count, value in accuracies.items() if value >= least)


@checked
def look(
    victim: nn.Module, masks: Masks, images: ImageSet, trigger: Trigger, *, target_label: TargetLabel,
    filters_pruned: ranges.CountOrZero, trigger_strength: ranges.Fraction,
) -> Figure:  # fmt: skip
    """Eight images with the weakened trigger and what the pruned network says; ACC and ASR of it and of the victim.

    Example: ``look(victim, masks, images, trigger, target_label=0, filters_pruned=10, trigger_strength=1.0)``
    """
    weak, pruned = weakened(trigger, trigger_strength), without_lowest(victim, masks, filters_pruned)
    shown = example_images(images, target_label)
    triggered = ImageSet(apply_trigger(shown.images, weak), shown.labels)
    said = predict(pruned, triggered).tolist()
    figure = plt.figure(figsize=(WIDTH, 2.7), layout="constrained")
    grid = figure.add_gridspec(2, len(said), height_ratios=(1.1, 1))
    for column, (image, label) in enumerate(zip(triggered.images, said, strict=True)):
        ax = figure.add_subplot(grid[0, column])
        ax.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ink = MEANINGS["ASR"] if label == target_label else "black"
        ax.set_title(CLASS_NAMES["fashion"][label], fontsize=8, color=ink)
    scores = {name: evaluate(net, images, weak, target_label=target_label)
              for name, net in (("victim", victim), (f"{filters_pruned} pruned", pruned))}  # fmt: skip
    _draw_scores(figure.add_subplot(grid[1, :]), scores)
    return figure


def _draw_scores(ax: Axes, scores: Mapping[str, Scores]) -> None:
    """ACC and ASR as bars from 0 to 100, with their numbers; the victim is gray."""
    for place, (name, ink) in enumerate(zip(scores, (VICTIM[0], METHOD[0]), strict=True)):
        values = [100 * scores[name].asr, 100 * scores[name].clean_accuracy]
        bars = ax.barh([y - 0.2 + 0.4 * (1 - place) for y in (0, 1)], values, height=0.36, color=ink, label=name)
        ax.bar_label(bars, fmt="%.0f %%", padding=2, fontsize=8)
    ax.set(xlim=(0, 112), xlabel="share of images (%)", yticks=(0, 1), yticklabels=("ASR", "ACC"))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
