"""NWC's observations, measured with the trigger in hand. Lin et al., NeurIPS 2024, arXiv:2405.20291, figures 1 and 4.

Do the filters that change most under clean unlearning change most under poison unlearning too? Are a backdoored
network's gradients larger than a clean one's when unlearning begins? And what do unlearning and zeroing alone do to the
backdoor, in this order of the filters and in a random one?
"""

from copy import deepcopy
from math import isfinite
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, sample
from bdlib.defenses.nwc import (
    RATIOS,
    Changes,
    choose_ratio,
    convolutions,
    neuron_weight_change,
    reinitialize,
    unlearn,
    weight_change,
)
from bdlib.evaluation.apply_trigger import TargetLabel, apply_trigger, triggered_set
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.trigger_analysis import joined, precision_at, rank_correlation, trigger_activated_change
from bdlib.training.filter_masks import PerFilter
from bdlib.training.loop import Schedule
from bdlib.training.unlearning import ascend
from bdlib.types import EventLog, OnEvent, Trigger, ignore

NUMBERS_VERSION = 2  # raise it when a change here changes numbers
IMAGES = 500  # test images that the measures use, at most
STOP_ASR = 0.05  # the attack success rate at which poison unlearning stops; released code
TOP = 0.2  # the share of the last layer's filters compared with as many that the trigger changes most


@checked
def nwc(
    model: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    events: EventLog,
    *,
    target_label: TargetLabel,
    weight_ratio: ranges.Fraction = 0.7,
    variant: ranges.Variant = "paper",
    unlearning_rate: ranges.LearningRate = 1e-4,
    batch_size: ranges.BatchSize = 256,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
) -> dict[str, float]:
    """Scores in [0, 1], rank correlations and gradient norms, of the run that `events` watched.

    Only poison unlearning, the gradients and `zeroing` at other shares are computed here. Empty when the run unlearned
    nothing; for a model that was never poisoned, only what needs no trigger.
    """
    if "unlearned" not in events:
        return {}
    schedule = Schedule(1000, unlearning_rate, anneal="constant", batch_size=batch_size, weight_decay=0.0,
                        augmentation=augmentation, seed=seed, seed_per_epoch=True)  # fmt: skip
    gradients, images, change = _last(activeness(model, clean, schedule)), sample(test, IMAGES), events["change"]
    measured = {"unlearning_epochs": float(events.counts["unlearning_epoch"]),
                "gradient_norm_median": gradients.median().item(),
                "gradient_norm_highest": gradients.max().item(), "zeroed_share": events["neuron_ratio"]}  # fmt: skip
    for name in ("unlearned", "reinitialized"):
        scores = evaluate(events[name], images, trigger, target_label=target_label)
        measured |= {f"{name}_accuracy": scores.clean_accuracy, f"{name}_asr": scores.asr}
    if torch.equal(apply_trigger(images.images, trigger), images.images):
        return {name: value for name, value in measured.items() if "asr" not in name}
    measured |= zeroing(model, change, clean, images, trigger, target_label=target_label, weight_ratio=weight_ratio,
                        variant=variant, seed=seed)  # fmt: skip
    poison_unlearned = poison_unlearn(model, images, trigger, schedule, target_label=target_label)
    measured |= agreement(change, weight_change(model, poison_unlearned)) | overlap(model, change, images, trigger)
    return {name: value for name, value in measured.items() if isfinite(value)}


def zeroing(
    model: nn.Module, change: Changes, clean: ImageSet, test: ImageSet, trigger: Trigger, *,
    target_label: int, weight_ratio: float, variant: ranges.Variant = "paper", seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """What zeroing alone does, at each of `RATIOS` and in two orders: "zeroed_0.03_asr", "random_0.03_asr" and so on.

    The second order is that of `shuffled`. "kept_share" is the ratio of `choose_ratio`, and "zeroed_kept_asr" and so
    on are the scores there: those of a network at chance tell nothing. Where no ratio keeps the accuracy, they are
    those of `model`.
    """
    measured: dict[str, float] = {}
    how: dict[str, Any] = {"weight_ratio": weight_ratio, "variant": variant}
    kept = choose_ratio(model, change, clean, **how)
    for name, order in (("zeroed", change), ("random", shuffled(change, seed=seed))):
        for ratio in sorted({kept, *RATIOS}):
            emptied = reinitialize(model, order, neuron_ratio=ratio, **how)
            scores = evaluate(emptied, test, trigger, target_label=target_label)
            for place in [f"{ratio:g}"] * (ratio in RATIOS) + ["kept"] * (ratio == kept):
                measured |= {f"{name}_{place}_accuracy": scores.clean_accuracy, f"{name}_{place}_asr": scores.asr}
    return measured | {"kept_share": kept}


def shuffled(change: Changes, *, seed: int) -> Changes:
    """The changes dealt out anew among the filters of each layer: a random order that takes as many from each layer."""
    generator = Generator().manual_seed(seed)
    return {name: moved[torch.randperm(len(moved), generator=generator)] for name, moved in change.items()}


def poison_unlearn(
    model: nn.Module, test: ImageSet, trigger: Trigger, schedule: Schedule, *, target_label: int,
    on_event: OnEvent = ignore,
) -> nn.Module:  # fmt: skip
    """A copy of `model` that has unlearned triggered test images with the attacker's label, down to `STOP_ASR`.

    `on_event` is told "unlearning_epoch" (the model after each one). Raises what `bdlib.defenses.nwc.unlearn` raises.
    """
    attacked = triggered_set(test, trigger, target_label=target_label)
    relabeled = ImageSet(attacked.images, torch.full_like(attacked.labels, target_label))
    return unlearn(model, relabeled, schedule, stop_accuracy=STOP_ASR, on_event=on_event)


def agreement(change: Changes, other: Changes) -> dict[str, float]:
    """Spearman's correlation of the weight changes of filters under two unlearnings: the last layer's, and all."""
    one, two = neuron_weight_change(change), neuron_weight_change(other)
    return {
        "correlation_last_layer": rank_correlation(_last(one), _last(two)),
        "correlation_all_layers": rank_correlation(joined(one), joined(two)),
    }


def overlap(model: nn.Module, change: Changes, test: ImageSet, trigger: Trigger) -> dict[str, float]:
    """The share of the last layer's most changed filters that the trigger changes most too, and as by chance."""
    layer = list(change)[-1]
    triggered = trigger_activated_change(model, test, trigger, [layer])[layer]
    count = max(1, int(TOP * len(triggered)))
    shared = precision_at(count, _last(neuron_weight_change(change)), triggered)
    return {"overlap_with_triggered": shared, "overlap_by_chance": count / len(triggered)}


def activeness(model: nn.Module, data: ImageSet, schedule: Schedule) -> dict[str, PerFilter]:
    """How large each filter's gradient is when unlearning begins: the sum of its absolute values, by layer.

    The mean over the batches of the first epoch. With the defense's schedule, these are the batches of its unlearning.
    """
    copy = deepcopy(model).requires_grad_(True)
    layers = convolutions(copy)
    norms: dict[str, list[Tensor]] = {name: [] for name in layers}
    for step, _ in ascend(copy, data, schedule):
        for name, layer in layers.items():
            if layer.weight.grad is not None:
                norms[name].append(layer.weight.grad.abs().flatten(1).sum(1))
        if step.ends_epoch:
            break
    return {name: torch.stack(of_steps).mean(0) for name, of_steps in norms.items()}


def selected_shares(change: Changes, neuron_ratio: float) -> dict[str, float]:
    """For each layer, the share of its filters that are among the `neuron_ratio` most changed of all."""
    scores = neuron_weight_change(change)
    of_all = joined(scores)
    count = int(neuron_ratio * len(of_all) + 1e-9)
    least = of_all.topk(count).values[-1] if count else torch.inf
    return {name: (values >= least).double().mean().item() for name, values in scores.items()}


def _last(layers: dict[str, Tensor]) -> Tensor:
    """The numbers of the last layer."""
    return layers[list(layers)[-1]]
