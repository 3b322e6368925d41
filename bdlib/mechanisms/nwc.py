"""NWC's observations, measured with the trigger in hand. Lin et al., NeurIPS 2024, arXiv:2405.20291, figures 1 and 4.

Do the filters that move most under clean unlearning move most under poison unlearning too? Are a backdoored network's
gradients larger than a clean one's when unlearning begins? And what do unlearning and zeroing alone do to the backdoor?
"""

from copy import deepcopy
from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor, nn

from bdlib.data.images import ImageSet, split
from bdlib.defenses.nwc import clean_unlearn, convolutions, neuron_weight_change, reinitialize, weight_change
from bdlib.evaluation.apply_trigger import apply_trigger, triggered_set
from bdlib.evaluation.metrics import Scores, evaluate
from bdlib.evaluation.trigger_analysis import joined, precision_at, rank_correlation, trigger_activated_change
from bdlib.training.filter_masks import PerFilter
from bdlib.training.loop import Schedule, train
from bdlib.training.unlearning import OnEpoch, ascent_loss, unlearn
from bdlib.types import Trigger

IMAGES = 500  # test images that the measures look at
GONE = 0.05  # the attack success rate at which poison unlearning stops; released code
TOP = 0.2  # the share of the last layer's filters set beside those that the trigger moves most


def nwc(
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    neuron_ratio: float = 0.4,
    weight_ratio: float = 0.7,
    stop_accuracy: float = 0.1,
    unlearning_rate: float = 1e-4,
    batch_size: int = 256,
    augmentation: int | None = 4,
    variant: str = "paper",
    seed: int = 0,
) -> dict[str, float]:
    """What a record keeps: scores in [0, 1], rank correlations, gradient norms. Empty where no filter is touched.

    On a model that was never poisoned, only what needs no trigger.
    """
    if neuron_ratio == 0:
        return {}
    schedule = Schedule(1000, unlearning_rate, anneal="constant", batch_size=batch_size, weight_decay=0.0, augmentation=augmentation,
                        seed=seed)  # fmt: skip
    steps: list[int] = []
    unlearned = clean_unlearn(model, clean, schedule, stop_accuracy=stop_accuracy,
                              on_epoch=lambda epoch, _: steps.append(epoch))  # fmt: skip
    change = weight_change(model, unlearned)
    emptied = reinitialize(model, change, neuron_ratio=neuron_ratio, weight_ratio=weight_ratio, variant=variant)
    gradients, sample = last(activeness(model, clean, schedule)), some(test)
    found = {"unlearning_epochs": float(len(steps)), "gradient_norm_median": gradients.median().item(),
             "gradient_norm_highest": gradients.max().item()}  # fmt: skip
    for name, network in (("unlearned", unlearned), ("reinitialized", emptied)):
        scores = evaluate(network, sample, trigger, target_label=target_label)
        found |= {f"{name}_accuracy": scores.clean_accuracy, f"{name}_asr": scores.asr}
    if torch.equal(apply_trigger(sample.images, trigger), sample.images):
        return {name: value for name, value in found.items() if "asr" not in name}
    poison = poison_unlearn(model, sample, trigger, schedule, target_label=target_label)
    found |= agreement(change, weight_change(model, poison)) | overlap(model, change, sample, trigger)
    return {name: value for name, value in found.items() if isfinite(value)}


def some(test: ImageSet) -> ImageSet:
    """At most `IMAGES` of the test images, an equal share of every class."""
    return test if len(test) <= IMAGES else split(test, IMAGES / len(test), seed=0)[0]


def watch(scores: list[Scores], test: ImageSet, trigger: Trigger, *, target_label: int) -> OnEpoch:
    """What to hand to a stage as `on_epoch`, to append to `scores` those of every epoch."""
    return lambda _, model: scores.append(evaluate(model, test, trigger, target_label=target_label))


def poison_unlearn(
    model: nn.Module, test: ImageSet, trigger: Trigger, schedule: Schedule, *, target_label: int,
    on_epoch: OnEpoch | None = None,
) -> nn.Module:  # fmt: skip
    """`model` made to unlearn triggered test images with the attacker's label, until few are given it."""
    attacked = triggered_set(test, trigger, target_label=target_label)
    wanted = ImageSet(attacked.images, torch.full_like(attacked.labels, target_label))
    return unlearn(model, wanted, schedule, stop_accuracy=GONE, on_epoch=on_epoch)


def agreement(change: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Spearman's correlation of the weight changes of filters under two unlearnings: the last layer's, and all."""
    one, two = neuron_weight_change(change), neuron_weight_change(other)
    return {
        "correlation_last_layer": rank_correlation(last(one), last(two)),
        "correlation_all_layers": rank_correlation(joined(one), joined(two)),
    }


def overlap(model: nn.Module, change: dict[str, Tensor], test: ImageSet, trigger: Trigger) -> dict[str, float]:
    """The share of the last layer's most changed filters that are among those the trigger moves most; and chance's."""
    layer = list(change)[-1]
    moved = trigger_activated_change(model, test, trigger, [layer])[layer]
    count = max(1, int(TOP * len(moved)))
    shared = precision_at(count, last(neuron_weight_change(change)), moved)
    return {"overlap_with_triggered": shared, "overlap_by_chance": count / len(moved)}


def activeness(model: nn.Module, data: ImageSet, schedule: Schedule) -> dict[str, PerFilter]:
    """How large each filter's gradient is when unlearning begins: the sum of its absolute values.

    The mean over the batches of the first epoch.
    """
    copy = deepcopy(model).requires_grad_(True)
    layers, seen = convolutions(copy), list[dict[str, Tensor]]()
    optimizer = schedule.sgd(copy.parameters())

    def look(*_: object) -> None:
        gradients = {name: layer.weight.grad for name, layer in layers.items()}
        seen.append({name: g.abs().flatten(1).sum(1) for name, g in gradients.items() if g is not None})

    optimizer.register_step_post_hook(look)
    train(copy, data, replace(schedule, epochs=1, seed=schedule.seed * schedule.epochs), loss_fn=ascent_loss,
          optimizer=optimizer)  # fmt: skip
    return {name: torch.stack([step[name] for step in seen]).mean(0) for name in layers}


def chosen(change: dict[str, Tensor], neuron_ratio: float) -> dict[str, float]:
    """For each layer, the share of its filters that are among the `neuron_ratio` most changed of all."""
    scores = neuron_weight_change(change)
    everything = joined(scores)
    count = int(neuron_ratio * len(everything) + 1e-9)
    least = everything.topk(count).values[-1] if count else torch.inf
    return {name: (values >= least).double().mean().item() for name, values in scores.items()}


def last(layers: dict[str, Tensor]) -> Tensor:
    """The numbers of the last layer."""
    return layers[list(layers)[-1]]
