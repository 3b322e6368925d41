"""What RNP says happens inside: unlearned models keep the backdoor, show its target, and recovery finds its filters.

Backdoor filters are told by their triggered change (`bdlib.analysis`), which no defender can measure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from bdlib.data.images import ImageSet, split
from bdlib.defenses.rnp import recover_masks, unlearn
from bdlib.evaluation.metrics import Scores, defense_effectiveness, evaluate
from bdlib.evaluation.trigger_analysis import joined, trigger_activated_change
from bdlib.models import predict, share
from bdlib.training.filter_masks import THRESHOLDS, Masks, batch_norms, prune
from bdlib.types import Trigger

FIXED_THRESHOLD = 0.7  # BackdoorBench's final model, whatever the data
LOWEST = 0.05  # the share of all filters, lowest masks first, of which the precision is taken
TOP = 0.1  # the share of a layer's filters called backdoor filters


def rnp(
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    stop_accuracy: float,
    unlearning_rate: float,
    unlearning_epochs: int,
    alpha: float,
    recovery_rate: float,
    recovery_epochs: int,
    batch_size: int,
    augmentation: int | None,
    variant: str,
    seed: int,
) -> dict[str, float]:
    """The stages once more, each one's outcome as numbers; on a clean twin only those that need no backdoor.

    Accuracies and success rates are of 500 test images.
    """
    some, steps = sample(test), list[nn.Module]()
    attack: dict[str, Any] = {"trigger": trigger, "target_label": target_label}
    shared: dict[str, Any] = {"batch_size": batch_size, "augmentation": augmentation, "seed": seed}
    unlearned = unlearn(model, clean, stop_accuracy=stop_accuracy, learning_rate=unlearning_rate,
                        epochs=unlearning_epochs, variant=variant, watch=steps.append, **shared)  # fmt: skip
    masks = recover_masks(unlearned, clean, alpha=alpha, learning_rate=recovery_rate, epochs=recovery_epochs, **shared)
    values, after = joined(masks), evaluate(unlearned, some, **attack)
    off = ~kept(model, defended)
    measured = {
        "unlearning_steps": float(len(steps)),
        "unlearned_accuracy": after.clean_accuracy,
        "exposure": exposure(unlearned, clean)[target_label].item(),
        "exposed": float(exposure(unlearned, clean).argmax() == target_label),
        "masks_at_zero": share(values <= 0),
        "masks_at_one": share(values >= 1),
        "pruned_filters": float(off.sum()),
    }
    if torch.equal(trigger(some.images[:8] / 255), some.images[:8] / 255):
        return measured
    backdoor = backdoor_filters(
        trigger_activated_change(model, some[some.labels != target_label], trigger, list(masks))
    )
    measured |= {"unlearned_asr": after.asr, "chance": share(backdoor),
                 "lowest_precision": share(backdoor[lowest(values, LOWEST)])}  # fmt: skip
    if off.any():
        measured["pruned_precision"] = share(backdoor[off])
    return measured | summary(threshold_sweep(model, masks, some, **attack))


def sample(test: ImageSet, count: int = 500) -> ImageSet:
    """`count` test images, the classes in equal shares; all of them where there are fewer."""
    return split(test, min(1.0, count / len(test)), seed=0)[0]


def exposure(unlearned: nn.Module, clean: ImageSet) -> Tensor:
    """The share of the defender's images that the unlearned model gives to each class, shape (classes,).

    The largest is the suspected target: the paper's algorithm 1, line 5. The defender could do this too.
    """
    classes = int(clean.labels.max()) + 1
    return predict(unlearned, clean).bincount(minlength=classes).double() / len(clean)


def kept(model: nn.Module, defended: nn.Module) -> Bool[Tensor, " n"]:
    """For every filter, whether `defended` still has its BatchNorm weight, which `model` had."""
    before, after = (joined({k: m.weight.detach() for k, m in batch_norms(net).items()}) for net in (model, defended))
    return (after != 0) | (before == 0)


def backdoor_filters(change: Mapping[str, Tensor], top: float = TOP) -> Bool[Tensor, " n"]:
    """The `top` share of every layer's filters, at least one, that the trigger moves most; layers are not compared."""
    marks = {}
    for layer, values in change.items():
        marks[layer] = torch.zeros_like(values, dtype=torch.bool)
        marks[layer][values.topk(ceil(top * len(values))).indices] = True
    return joined(marks)


def lowest(values: Tensor, proportion: float) -> Tensor:
    """The places of the lowest masks, ties in the network's order; at least one."""
    return values.argsort(stable=True)[: max(1, round(proportion * len(values)))]


def threshold_sweep(
    model: nn.Module, masks: Masks, test: ImageSet, *, trigger: Trigger, target_label: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> pd.DataFrame:  # fmt: skip
    """ACC, ASR and DER of the pruned model at every threshold: columns threshold, pruned, accuracy, asr, der.

    The first row, of threshold -1, is the model itself. Choosing a row by this table takes an oracle.
    """
    attack: dict[str, Any] = {"trigger": trigger, "target_label": target_label}
    values, rows = joined(masks), list[dict[str, float]]()
    before = scores = evaluate(model, test, **attack)
    for threshold in (-1.0, *thresholds):
        count = (values <= threshold).sum().item()
        if rows and count > rows[-1]["pruned"]:
            scores = evaluate(prune(model, masks, threshold), test, **attack)
        rows.append({"threshold": threshold, "pruned": count, "accuracy": scores.clean_accuracy, "asr": scores.asr,
                     "der": defense_effectiveness(before, scores)})  # fmt: skip
    return pd.DataFrame(rows)


def oracle(sweep: pd.DataFrame) -> pd.Series:
    """The row of the highest DER, the lower threshold where several have it: needs test data and the trigger."""
    return sweep.loc[sweep["der"].idxmax()]


def summary(sweep: pd.DataFrame) -> dict[str, float]:
    """Scores at the oracle's threshold and at BackdoorBench's fixed one, as numbers for a record."""
    best, fixed = oracle(sweep), sweep[sweep["threshold"] == FIXED_THRESHOLD].iloc[0]
    return {f"{name}_{column}": float(row[column]) for name, row in (("oracle", best), ("fixed", fixed))
            for column in ("threshold", "pruned", "accuracy", "asr")}  # fmt: skip


@dataclass
class Course:
    """Watches a stage: ACC and ASR of the network at every few steps, for figures."""

    test: ImageSet
    trigger: Trigger
    target_label: int
    every: int = 4
    seen: int = 0
    steps: list[int] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)

    def __call__(self, network: nn.Module) -> None:
        self.seen += 1
        if self.seen % self.every == 0:
            self.steps.append(self.seen)
            self.scores.append(evaluate(network, self.test, self.trigger, target_label=self.target_label))

    def lines(self) -> dict[str, tuple[list[int], list[float]]]:
        """ACC and ASR in per cent, each as (steps, heights)."""
        return {"ACC": (self.steps, [100 * s.clean_accuracy for s in self.scores]),
                "ASR": (self.steps, [100 * s.asr for s in self.scores])}  # fmt: skip
