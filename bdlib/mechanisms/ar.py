"""Does benign salience find the bad neurons, and what does the penalty do to the weights? Measures for AR.

Triggered images give two truths: how much the trigger changes a filter's output, and how much the backdoor's loss
depends on a weight. The detectors see only the model and clean images. Numbers of different layers have different
scales, so layers are never mixed: each detector names the same share of every layer.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.ar.salience import benign_salience, mask, weights_inside
from bdlib.evaluation.apply_trigger import TargetLabel, apply_trigger
from bdlib.evaluation.trigger_analysis import trigger_activated_change
from bdlib.mechanisms.ar_precision import chance, precision
from bdlib.models import evaluation_mode, require_convolution, tap
from bdlib.training.filter_masks import PerFilter
from bdlib.types import EventLog, Trigger

NUMBERS_VERSION = 2  # raise it when a change here changes numbers
PerLayer = dict[str, PerFilter]  # a number for every filter of every convolution, by the convolution's name
IMAGES = 500  # test images for the triggered change
SHARE = 0.1  # of each layer that a detector names


@checked
@needs(require_convolution)
def ar(
    model: nn.Module, defended: nn.Module, clean: ImageSet, test: ImageSet, trigger: Trigger, events: EventLog, *,
    target_label: TargetLabel, layers: Sequence[str], decay: ranges.Fraction = 0.9, batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4, seed: ranges.Seed = 0,
) -> dict[str, float]:  # fmt: skip
    """The precision of each detector at a tenth of every layer, chance, and the weights before and after.

    `precision_...` is over filters, `precision_weights_...` over single weights. `mean_weight_...` is the mean size of
    the weights inside `layers`, `share_above_one_...` the share of them larger than one, `change_left` the triggered
    change after the repair over that before, averaged over layers. On a model where the trigger changes nothing, all
    that needs the trigger is left out.

    Of a run that was watched: `mean_weight_course`, the mean size of these weights over that before the repair,
    averaged over the epochs (the lower, the faster they shrink); and `loss_rises`, by how many nats the mean
    cross-entropy of an epoch exceeds that of the epoch before, summed over the epochs where it does (the lower, the
    steadier).
    """
    sizes = {when: sizes_inside(network, layers) for when, network in (("before", model), ("after", defended))}
    measured = {f"mean_weight_{when}": size.mean().item() for when, size in sizes.items()}
    measured |= {f"share_above_one_{when}": (size > 1).double().mean().item() for when, size in sizes.items()}
    if convergence := events.get("convergence"):
        losses, means = zip(*convergence, strict=True)
        measured["mean_weight_course"] = sum(means) / len(means) / measured["mean_weight_before"]
        measured["loss_rises"] = float(sum(max(0.0, later - earlier) for earlier, later in pairwise(losses)))
    images = other_classes(test, target_label)
    before = change(model, images, trigger)
    if not any(moved.any() for moved in before.values()):
        return measured
    salience, gains = salience_of(
        model, clean, decay=decay, batch_size=batch_size, augmentation=augmentation, seed=seed
    )
    for name, scores in detectors(model, clean, salience, gains).items():
        measured[f"precision_{name}"] = precision(scores, before, SHARE)
    backdoor = backdoor_salience(model, images, trigger, target_label=target_label)
    for name, scores in weight_detectors(model, salience).items():
        measured[f"precision_weights_{name}"] = precision(scores, backdoor, SHARE)
    after = change(defended, images, trigger)
    left = torch.stack([after[name].sum() / before[name].sum() for name in before if before[name].any()])
    return measured | {"precision_chance": chance(before, SHARE), "change_left": left.mean().item()}


def other_classes(test: ImageSet, target_label: int) -> ImageSet:
    """The first test images of classes other than the target, at most `IMAGES`."""
    return test[test.labels != target_label][:IMAGES]


def sizes_inside(model: nn.Module, layers: Sequence[str]) -> Tensor:
    """The absolute values of all weights inside `layers`, as one vector."""
    return torch.cat([weight.detach().abs().flatten() for weight in weights_inside(model, layers).values()])


def salience_of(model: nn.Module, clean: ImageSet, **averaging: Any) -> tuple[dict[str, Tensor], PerLayer]:
    """The benign salience of every convolution's weights, and of its filters' gains, by the convolution's name.

    A filter's gain is the weight of the BatchNorm behind it. Its salience is, to first order, what the clean loss would
    gain if the filter's output did not vary. Without BatchNorm that is the sum over the filter's weights. `averaging`
    are keywords of `benign_salience`.
    """
    outputs, kinds = output_layers(model), (nn.Conv2d, nn.BatchNorm2d)
    scores = benign_salience(model, clean, layers=list({*outputs, *outputs.values()}), kinds=kinds, **averaging)
    salience = {name: scores[f"{name}.weight"] for name in outputs}
    gains = {name: _per_filter(scores[f"{output}.weight"]) for name, output in outputs.items()}
    return salience, gains


def detectors(
    model: nn.Module, clean: ImageSet, salience: Mapping[str, Tensor], gains: Mapping[str, Tensor]
) -> dict[str, PerLayer]:
    """A score for every filter by each detector, the higher the more suspect; from the model and clean images alone.

    salience: the least salient gain. absolute: the least sum of its weights' absolute salience. marks: the largest
    share of its weights in the least salient half of the layer, which AR penalizes first. activation: the least mean
    absolute output, as in fine-pruning. weight: the least sum of absolute weights.
    """
    return {
        "salience": {name: -score for name, score in gains.items()},
        "absolute": {name: -_per_filter(score.abs()) for name, score in salience.items()},
        "marks": {name: _per_filter(mask(score, 0.5, "bottom").float()) for name, score in salience.items()},
        "activation": {name: -size for name, size in _activation(model, clean).items()},
        "weight": {name: -_per_filter(size) for name, size in _sizes_of(model, salience).items()},
    }


def weight_detectors(model: nn.Module, salience: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A score for every single weight by AR's three ways to select, and by size; a vector for each layer."""
    flat = {name: score.flatten() for name, score in salience.items()}
    return {
        "bottom": {name: -score for name, score in flat.items()},
        "top": flat,
        "bottom_abs": {name: -score.abs() for name, score in flat.items()},
        "largest": {name: size.flatten() for name, size in _sizes_of(model, salience).items()},
    }


def backdoor_salience(model: nn.Module, images: ImageSet, trigger: Trigger, *, target_label: int) -> dict[str, Tensor]:
    """What the attack would lose, to first order, if a weight were zero: a vector for every convolution.

    It is the salience for the cross-entropy of triggered images with the target label, in evaluation mode.
    """
    probe = deepcopy(model).requires_grad_(True).eval()
    weights = {name: probe.get_parameter(f"{name}.weight") for name in output_layers(model)}
    logits = probe(apply_trigger(images.images, trigger).float() / 255)
    loss = F.cross_entropy(logits, torch.full_like(images.labels, target_label))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return {n: -(g * w.detach()).flatten() for (n, w), g in zip(weights.items(), gradients, strict=True)}


def cancelled(salience: Mapping[str, Tensor]) -> dict[str, float]:
    """The size of the signed sum over a filter's weights, over the absolute sum, in [0, 1]: the mean of each layer."""
    return {name: (_per_filter(s).abs() / _per_filter(s.abs())).nanmean().item() for name, s in salience.items()}


def output_layers(model: nn.Module) -> dict[str, str]:
    """The layer that gives out every convolution's filters: the BatchNorm registered right behind it, else itself."""
    modules = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    outputs = {}
    for (name, module), (following, norm) in zip(modules, [*modules[1:], ("", nn.Identity())], strict=True):
        if isinstance(module, nn.Conv2d):
            beside = following.rpartition(".")[0] == name.rpartition(".")[0]
            fits = isinstance(norm, nn.BatchNorm2d) and norm.num_features == module.out_channels
            outputs[name] = following if beside and fits else name
    return outputs


def change(model: nn.Module, images: ImageSet, trigger: Trigger) -> PerLayer:
    """The triggered change of every filter's output, by the convolution's name."""
    outputs = output_layers(model)
    changes = trigger_activated_change(model, images, trigger, list(outputs.values()))
    return {name: changes[output] for name, output in outputs.items()}


def _per_filter(values: Tensor) -> PerFilter:
    """The sum over each filter's weights; the first dimension is that of the filters."""
    return values.flatten(1).sum(1) if values.dim() > 1 else values


def _sizes_of(model: nn.Module, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The absolute weights of the named convolutions."""
    return {name: model.get_parameter(f"{name}.weight").detach().abs() for name in names}


@torch.no_grad()
def _activation(model: nn.Module, clean: ImageSet) -> PerLayer:
    """Mean absolute output of every filter over clean images and pixels."""
    outputs = output_layers(model)
    with evaluation_mode(model), tap(model, *outputs.values()) as maps:
        model(clean.images.float() / 255)
    return {name: maps[output].abs().mean((0, 2, 3)) for name, output in outputs.items()}
