"""Does benign salience find the bad neurons, and what does the penalty do to the weights? Measures for AR.

Two truths are taken from triggered images: how far the trigger moves a filter, and how much the backdoor's loss hangs
on a weight. The detectors see only the model and clean images. Layers are never mixed, since their numbers are not of
one scale: each detector names a share of every layer.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.defenses.ar.salience import benign_salience, mask, weights_inside
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.trigger_analysis import precision_at, trigger_activated_change
from bdlib.models import tap
from bdlib.training.filter_masks import PerFilter
from bdlib.types import Trigger

PerLayer = dict[str, PerFilter]  # a number for every filter of every convolution, by the convolution's name
IMAGES = 500  # test images behind the triggered change
SHARE = 0.1  # of each layer that a detector names


def ar(
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    layers: list[str],
    decay: float = 0.9,
    batch_size: int = 128,
    augmentation: int | None = 4,
    seed: int = 0,
) -> dict[str, float]:
    """Precision of each detector at a tenth of every layer, chance, and the weights before and after.

    `precision_...` is over filters, `precision_weights_...` over single weights. `mean_weight_...` is the mean size
    of the weights inside `layers`, `share_above_one_...` the share of them larger than one, `change_left` the
    triggered change after the repair over that before, averaged over layers. On a model where the trigger moves
    nothing, whatever rests on the trigger is left out.
    """
    sizes = {when: sizes_inside(network, layers) for when, network in (("before", model), ("after", defended))}
    measured = {f"mean_weight_{when}": size.mean().item() for when, size in sizes.items()}
    measured |= {f"share_above_one_{when}": (size > 1).double().mean().item() for when, size in sizes.items()}
    images = some(test, target_label)
    truth = change(model, images, trigger)
    if not any(moved.any() for moved in truth.values()):
        return measured
    salience, gains = salience_of(
        model, clean, decay=decay, batch_size=batch_size, augmentation=augmentation, seed=seed
    )
    suspected = detectors(model, clean, salience, gains)
    measured |= {f"precision_{name}": precision(found, truth, SHARE) for name, found in suspected.items()}
    hanging = backdoor_salience(model, images, trigger, target_label=target_label)
    suspected = weight_detectors(model, salience)
    measured |= {f"precision_weights_{name}": precision(found, hanging, SHARE) for name, found in suspected.items()}
    after = change(defended, images, trigger)
    left = torch.stack([after[name].sum() / truth[name].sum() for name in truth if truth[name].any()])
    return measured | {"precision_chance": chance(truth, SHARE), "change_left": left.mean().item()}


def some(test: ImageSet, target_label: int) -> ImageSet:
    """The first test images of classes other than the target, at most `IMAGES`."""
    others = test[test.labels != target_label]
    return others[torch.arange(min(IMAGES, len(others)), device=others.labels.device)]


def sizes_inside(model: nn.Module, layers: list[str]) -> Tensor:
    """The absolute values of all weights inside `layers`, as one vector."""
    return torch.cat([weight.detach().abs().flatten() for weight in weights_inside(model, layers).values()])


def salience_of(
    model: nn.Module,
    clean: ImageSet,
    *,
    decay: float = 0.9,
    batch_size: int = 128,
    augmentation: int | None = 4,
    seed: int = 0,
) -> tuple[dict[str, Tensor], PerLayer]:
    """The benign salience of every convolution's weights, and of its filters' gains, by the convolution's name.

    A filter's gain is the weight of the BatchNorm behind it: to first order its salience is what the clean loss would
    gain, were all that varies in the filter's output gone. Without BatchNorm that is the sum over the filter's weights.
    """
    heard = outputs(model)
    places, kinds = list({*heard, *heard.values()}), (nn.Conv2d, nn.BatchNorm2d)
    found = benign_salience(
        model,
        clean,
        layers=places,
        kinds=kinds,
        decay=decay,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
    )
    salience = {name: found[f"{name}.weight"] for name in heard}
    gains = {name: per_filter(found[f"{place}.weight"]) if place == name else found[f"{place}.weight"]
             for name, place in heard.items()}  # fmt: skip
    return salience, gains


def detectors(
    model: nn.Module, clean: ImageSet, salience: Mapping[str, Tensor], gains: Mapping[str, Tensor]
) -> dict[str, PerLayer]:
    """How suspect every filter is by each detector, higher being worse; from the model and clean images alone.

    salience: the least salient gain. absolute: the least sum of its weights' absolute salience. marks: the largest
    share of its weights in the least salient half of the layer, which is what AR penalises first. activation: the
    least mean absolute output, as in fine-pruning. weight: the least sum of absolute weights.
    """
    return {
        "salience": {name: -score for name, score in gains.items()},
        "absolute": {name: -per_filter(score.abs()) for name, score in salience.items()},
        "marks": {name: per_filter(mask(score, 0.5, "bottom").float()) for name, score in salience.items()},
        "activation": {name: -size for name, size in activation(model, clean).items()},
        "weight": {name: -per_filter(size) for name, size in sizes_of(model, salience).items()},
    }


def weight_detectors(model: nn.Module, salience: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """How suspect every single weight is: by AR's three ways to select, and by being large; a vector for each layer."""
    flat = {name: score.flatten() for name, score in salience.items()}
    return {
        "bottom": {name: -score for name, score in flat.items()},
        "top": flat,
        "bottom_abs": {name: -score.abs() for name, score in flat.items()},
        "largest": {name: size.flatten() for name, size in sizes_of(model, salience).items()},
    }


def sizes_of(model: nn.Module, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The absolute weights of the named convolutions."""
    return {name: model.get_parameter(f"{name}.weight").detach().abs() for name in names}


def backdoor_salience(model: nn.Module, images: ImageSet, trigger: Trigger, *, target_label: int) -> dict[str, Tensor]:
    """What the attack would lose to first order, were a weight zero: a vector for every convolution.

    The salience of the cross-entropy of triggered images with the target label, the model in evaluation mode.
    """
    probe = deepcopy(model).requires_grad_(True).eval()
    weights = {name: probe.get_parameter(f"{name}.weight") for name in outputs(model)}
    logits = probe(apply_trigger(images.images, trigger).float() / 255)
    loss = F.cross_entropy(logits, torch.full_like(images.labels, target_label))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return {n: -(g * w.detach()).flatten() for (n, w), g in zip(weights.items(), gradients, strict=True)}


def cancelled(salience: Mapping[str, Tensor]) -> dict[str, float]:
    """For each convolution the mean over its filters of the signed sum's size over the absolute sum, in [0, 1]."""
    return {name: (per_filter(s).abs() / per_filter(s.abs())).nanmean().item() for name, s in salience.items()}


def per_filter(values: Tensor) -> PerFilter:
    """The sum over each filter's weights; filters lie along the first dimension."""
    return values.flatten(1).sum(1)


def outputs(model: nn.Module) -> dict[str, str]:
    """Where every convolution's filters are heard: at the BatchNorm registered right behind it, else at itself."""
    modules = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    heard = {}
    for (name, module), (following, norm) in zip(modules, [*modules[1:], ("", nn.Identity())], strict=True):
        if isinstance(module, nn.Conv2d):
            beside = following.rpartition(".")[0] == name.rpartition(".")[0]
            fits = isinstance(norm, nn.BatchNorm2d) and norm.num_features == module.out_channels
            heard[name] = following if beside and fits else name
    return heard


def change(model: nn.Module, images: ImageSet, trigger: Trigger) -> PerLayer:
    """The triggered change of every filter where it is heard, by the convolution's name."""
    heard = outputs(model)
    found = trigger_activated_change(model, images, trigger, list(heard.values()))
    return {name: found[place] for name, place in heard.items()}


@torch.no_grad()
def activation(model: nn.Module, clean: ImageSet) -> PerLayer:
    """Mean absolute output of every filter where it is heard, over clean images and pixels."""
    heard, was_training = outputs(model), model.training
    with tap(model.eval(), *heard.values()) as seen:
        model(clean.images.float() / 255)
    model.train(was_training)
    return {name: seen[place].abs().mean((0, 2, 3)) for name, place in heard.items()}


def chosen(count: int, share: float) -> int:
    """How many of a layer's filters, or weights, a share of them is: rounded, and at least one."""
    return max(1, round(share * count))


def precision(suspicion: Mapping[str, Tensor], truth: Mapping[str, Tensor], share: float) -> float:
    """Of those named, a `share` of every layer: the part that is among as many with the highest `truth`."""
    counts = {name: chosen(len(values), share) for name, values in truth.items()}
    hits = [count * precision_at(count, suspicion[name], truth[name]) for name, count in counts.items()]
    return sum(hits) / sum(counts.values())


def chance(truth: Mapping[str, Tensor], share: float) -> float:
    """What `precision` is on average when the named are drawn at random."""
    counts = {name: chosen(len(values), share) for name, values in truth.items()}
    return sum(count**2 / len(truth[name]) for name, count in counts.items()) / sum(counts.values())


def precision_curves(
    suspected: Mapping[str, Mapping[str, Tensor]],
    truth: Mapping[str, Tensor],
    shares: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
) -> dict[str, tuple[list[float], list[float]]]:
    """For each detector, and for chance: the shares named and the precision at each, all in per cent."""
    curves = {name: [precision(found, truth, share) for share in shares] for name, found in suspected.items()}
    curves["chance"] = [chance(truth, share) for share in shares]
    return {name: ([100 * s for s in shares], [100 * y for y in heights]) for name, heights in curves.items()}
