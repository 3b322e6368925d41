"""What RNP says happens inside: unlearned models keep the backdoor, show its target, and recovery finds its filters.

Backdoor filters are those with the largest trigger-activated change (`bdlib.evaluation.trigger_analysis`), which no
defender can measure.
"""

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, sample
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.evaluation.metrics import Scores, defense_effectiveness, evaluate
from bdlib.evaluation.trigger_analysis import joined, trigger_activated_change
from bdlib.mechanisms.rnp_tasks import errors_at, other_tasks
from bdlib.models import predict, share
from bdlib.training.filter_masks import Masks, batch_norms, prune
from bdlib.types import EventLog, Trigger

NUMBERS_VERSION = 2  # raise it when a change here or in `rnp_tasks` changes numbers
IMAGES = 500  # test images that the measures use, at most
FIXED_THRESHOLD = 0.7  # BackdoorBench's final model, whatever the data
LOWEST = 0.05  # the share of all filters, lowest masks first, whose precision is measured
TOP = 0.1  # the share of a layer's filters called backdoor filters
SHARES = (0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.2)  # of all filters: where orders of pruning are compared
FLOOR = 0.05  # accuracy that pruning may cost: what the released log loses at most in its good window, rounded up
REMOVED = 0.1  # the attack success rate at which a backdoor counts as removed


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
    seed: ranges.Seed = 0,
) -> dict[str, float]:
    """The outcome of each stage of the run that `events` watched; for a clean model, only what needs no backdoor.

    Accuracies, success rates, precisions and shares are in [0, 1], the rest are counts. Accuracies and success rates
    are of `IMAGES` test images. `lowest_<share>_asr` is of the victim without that share of its filters, those of the
    lowest masks; `random_<share>_asr` without as many drawn by `seed`. Empty when no run was watched.
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
        "errors_at_target": errors_at(unlearned, clean, target_label),
        "victim_errors_at_target": errors_at(model, clean, target_label),
        "masks_at_zero": share(values <= 0),
        "masks_at_one": share(values >= 1),
        "pruned_filters": float(pruned.sum()),
    }
    if torch.equal(trigger(images.images[:8] / 255), images.images[:8] / 255):
        return {name: value for name, value in measured.items() if isfinite(value)}
    others = images[images.labels != target_label]
    backdoor = backdoor_filters(trigger_activated_change(model, others, trigger, list(masks)))
    measured |= {"unlearned_asr": scores.asr, "chance": share(backdoor),
                 "lowest_precision": share(backdoor[lowest_masks(values, LOWEST)]),
                 "pruned_precision": share(backdoor[pruned])}  # fmt: skip
    measured |= _fixed_scores(evaluate(prune(model, masks, FIXED_THRESHOLD), images, **attack), values)
    for name, order in (
        ("lowest", values),
        ("random", torch.rand(len(values), generator=Generator().manual_seed(seed))),
    ):
        sweep = pruning_sweep(model, _per_layer(order.to(values), masks), images, **attack)
        measured |= {f"{name}_{row.share:g}_{column}": float(getattr(row, column))
                     for row in sweep.iloc[1:].itertuples() for column in ("accuracy", "asr")}  # fmt: skip
        measured |= {f"{name}_{key}": value for key, value in order_scores(sweep).items()}
    measured |= other_tasks(model, unlearned, clean, images, trigger, target_label=target_label, seed=seed)
    return {name: value for name, value in measured.items() if isfinite(value)}


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


@checked
def without_lowest(model: nn.Module, masks: Masks, count: ranges.CountOrZero) -> nn.Module:
    """A copy of `model` in which the `count` filters of the lowest masks are pruned; ties are in the network's order.

    Example: `without_lowest(victim, log["masks"], 10)`
    """
    values = joined(masks)
    kept = torch.ones_like(values)
    kept[values.argsort(stable=True)[:count]] = 0
    return prune(model, _per_layer(kept, masks), 0.5)


def pruning_sweep(
    model: nn.Module, masks: Masks, test: ImageSet, *, trigger: Trigger, target_label: int,
    shares: Sequence[float] = SHARES,
) -> pd.DataFrame:  # fmt: skip
    """ACC, ASR and DER of `model` without the filters of the lowest masks: columns share, pruned, accuracy, asr, der.

    `shares` are of all filters, so the masks' order counts and not their size; ties are in the network's order. The
    first row is the model itself. Only an oracle can choose a row by this table.
    """
    filters, rows, before = len(joined(masks)), list[dict[str, float]](), None
    for part in (0.0, *shares):
        count = round(part * filters)
        scores = evaluate(without_lowest(model, masks, count), test, trigger, target_label=target_label)
        before = before or scores
        rows.append({"share": part, "pruned": count, "accuracy": scores.clean_accuracy, "asr": scores.asr,
                     "der": defense_effectiveness(before, scores)})  # fmt: skip
    return pd.DataFrame(rows)


def oracle_choice(sweep: pd.DataFrame) -> pd.Series:
    """The row of the highest DER, the fewest filters among ties. It needs test data and the trigger."""
    return sweep.loc[sweep["der"].idxmax()]


def order_scores(sweep: pd.DataFrame) -> dict[str, float]:
    """How good an order of pruning is, whatever rule stops it; from its `pruning_sweep`.

    "floor_asr": the lowest ASR that costs at most `FLOOR` of accuracy. "removal_share": the smallest share of filters
    that removes the backdoor at that price, 1 where none does. "oracle" and more: the row of `oracle_choice`.
    """
    kept = sweep[sweep["accuracy"] >= sweep["accuracy"].iloc[0] - FLOOR]
    removed, best = kept[kept["asr"] <= REMOVED], oracle_choice(sweep)
    scores = {"floor_asr": kept["asr"].min(), "removal_share": removed["share"].min() if len(removed) else 1.0}
    return {name: float(value) for name, value in scores.items()} | {
        f"oracle_{column}": float(best[column]) for column in ("pruned", "accuracy", "asr")
    }


def _per_layer(values: Tensor, masks: Masks) -> dict[str, Tensor]:
    """One number for each filter as a vector for each layer of `masks`: the reverse of `joined`."""
    return dict(zip(masks, values.split([len(mask) for mask in masks.values()]), strict=True))


def _fixed_scores(scores: Scores, values: Tensor) -> dict[str, float]:
    """Scores at BackdoorBench's fixed threshold, as numbers for a record."""
    return {"fixed_pruned": float((values <= FIXED_THRESHOLD).sum()), "fixed_accuracy": scores.clean_accuracy,
            "fixed_asr": scores.asr}  # fmt: skip
