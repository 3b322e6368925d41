"""What RNP says happens inside: unlearned models keep the backdoor, show its target, and recovery finds its filters.

Backdoor filters are those with the largest trigger-activated change (`bdlib.evaluation.trigger_analysis`), which no
defender can measure.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet, sample
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.evaluation.metrics import defense_effectiveness, evaluate
from bdlib.evaluation.trigger_analysis import joined, trigger_activated_change
from bdlib.models import predict, share
from bdlib.training.filter_masks import THRESHOLDS, Masks, batch_norms, prune
from bdlib.types import EventLog, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
IMAGES = 500  # test images that the measures use, at most
FIXED_THRESHOLD = 0.7  # BackdoorBench's final model, whatever the data
LOWEST = 0.05  # the share of all filters, lowest masks first, whose precision is measured
TOP = 0.1  # the share of a layer's filters called backdoor filters


@checked
def rnp(
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    events: EventLog,
    *,
    target_label: TargetLabel,
) -> dict[str, float]:
    """The outcome of each stage of the run that `events` watched; for a clean model, only what needs no backdoor.

    Accuracies, success rates, precisions and shares are in [0, 1], the rest are counts. Accuracies and success rates
    are of `IMAGES` test images. Empty when no run was watched.
    """
    if "unlearned" not in events:
        return {}
    images, unlearned, masks = sample(test, IMAGES), events["unlearned"], events["masks"]
    attack: dict[str, Any] = {"trigger": trigger, "target_label": target_label}
    values, scores, shares = joined(masks), evaluate(unlearned, images, **attack), exposure(unlearned, clean)
    pruned = ~remaining_filters(model, defended)
    measured = {
        "unlearning_steps": float(events.counts["unlearning_step"]),
        "unlearned_accuracy": scores.clean_accuracy,
        "exposure": shares[target_label].item(),
        "exposed": float(shares.argmax() == target_label),
        "masks_at_zero": share(values <= 0),
        "masks_at_one": share(values >= 1),
        "pruned_filters": float(pruned.sum()),
    }
    if torch.equal(trigger(images.images[:8] / 255), images.images[:8] / 255):
        return measured
    others = images[images.labels != target_label]
    backdoor = backdoor_filters(trigger_activated_change(model, others, trigger, list(masks)))
    measured |= {"unlearned_asr": scores.asr, "chance": share(backdoor),
                 "lowest_precision": share(backdoor[lowest_masks(values, LOWEST)])}  # fmt: skip
    if pruned.any():
        measured["pruned_precision"] = share(backdoor[pruned])
    return measured | _threshold_scores(threshold_sweep(model, masks, images, **attack))


def exposure(unlearned: nn.Module, clean: ImageSet) -> Tensor:
    """The share of the defender's images that the unlearned model assigns to each class, shape (classes,).

    The largest is the suspected target: the paper's algorithm 1, line 5. The defender could do this too.
    """
    classes = int(clean.labels.max()) + 1
    return predict(unlearned, clean).bincount(minlength=classes).double() / len(clean)


def remaining_filters(model: nn.Module, defended: nn.Module) -> Bool[Tensor, " n"]:
    """For every filter, whether `defended` did not prune it: its BatchNorm weight is not zero, or was so in `model`."""
    before, after = (joined({k: m.weight.detach() for k, m in batch_norms(net).items()}) for net in (model, defended))
    return (after != 0) | (before == 0)


def backdoor_filters(change: Mapping[str, Tensor], top: float = TOP) -> Bool[Tensor, " n"]:
    """The `top` share of every layer's filters, at least one, that the trigger moves most, layer by layer."""
    marks = {}
    for layer, values in change.items():
        marks[layer] = torch.zeros_like(values, dtype=torch.bool)
        marks[layer][values.topk(ceil(top * len(values))).indices] = True
    return joined(marks)


def lowest_masks(values: Tensor, proportion: float) -> Tensor:
    """The positions of the lowest masks, ties in the network's order; at least one."""
    return values.argsort(stable=True)[: max(1, round(proportion * len(values)))]


def threshold_sweep(
    model: nn.Module, masks: Masks, test: ImageSet, *, trigger: Trigger, target_label: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> pd.DataFrame:  # fmt: skip
    """ACC, ASR and DER of the pruned model at every threshold: columns threshold, pruned, accuracy, asr, der.

    The first row, of threshold -1, is the model itself. Only an oracle can choose a row by this table.
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


def oracle_choice(sweep: pd.DataFrame) -> pd.Series:
    """The row of the highest DER, the lowest threshold among ties. It needs test data and the trigger."""
    return sweep.loc[sweep["der"].idxmax()]


def _threshold_scores(sweep: pd.DataFrame) -> dict[str, float]:
    """Scores at the oracle's threshold and at BackdoorBench's fixed one, as numbers for a record."""
    best, fixed = oracle_choice(sweep), sweep[sweep["threshold"] == FIXED_THRESHOLD].iloc[0]
    return {f"{name}_{column}": float(row[column]) for name, row in (("oracle", best), ("fixed", fixed))
            for column in ("threshold", "pruned", "accuracy", "asr")}  # fmt: skip
