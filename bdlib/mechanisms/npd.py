"""What a neural polarizer does to features, and what its stand-in attacks aim at. Zhu et al. 2023, arXiv:2306.16697."""

from math import inf, isfinite

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet, require_images
from bdlib.defenses.npd.method import SmallAttack
from bdlib.defenses.npd.polarizer import Polarized
from bdlib.defenses.npd.targeted_pgd import second_most_likely_class
from bdlib.evaluation.apply_trigger import TargetLabel, apply_trigger
from bdlib.evaluation.trigger_analysis import rank_correlation, trigger_activated_change
from bdlib.models import accuracy, readout_of, share, tap
from bdlib.types import EventLog, Images, Labels, Logits, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
Features = Float[Tensor, "n d"]  # a row for each image
PLACES = ("polarizer", "head")  # where features are read: behind the filter, and before the last linear layer


@checked
def npd(
    model: nn.Module, defended: Polarized, clean: ImageSet, test: ImageSet, trigger: Trigger, events: EventLog, *,
    target_label: TargetLabel,
) -> dict[str, float]:  # fmt: skip
    """Mostly shares in [0, 1]; also a number of parameters, changes of features and logits, and a rank correlation.

    `before` is the victim with a polarizer that does nothing yet, `after` the defended network. `events` are those of
    the run that made it. What is not defined, such as the correlation on a model without a trigger, is left out. Empty
    when no run was watched.
    """
    if "warmed_up" not in events:
        return {}
    start, warm = events["inserted"], events["warmed_up"]
    reference, probes = two_parts(test)
    probes = probes[probes.labels != target_label]
    learned, total = learned_parameters(defended), sum(p.numel() for p in model.parameters())
    measured = {"learned_parameters": float(learned), "learned_share": learned / total}
    for when, network in (("before", start), ("after", defended)):
        for place in PLACES:
            near = nearest_class(network, reference, apply_trigger(probes.images, trigger), place)
            measured[f"{place}_nearest_true_{when}"] = share(near == probes.labels)
            measured[f"{place}_nearest_target_{when}"] = share(near == target_label)
            measured[f"{place}_trigger_shift_{when}"] = trigger_shift(network, probes.images, trigger, place)
        aims = attack_aims(network, clean, target_label, attack=events["attack"])
        measured |= {f"{name}_{when}": value for name, value in aims.items()}
    measured["change_follows_trigger"] = change_follows_trigger(start, defended, probes, trigger)
    measured["warm_up_logit_change"] = (logits_of(warm, reference) - logits_of(start, reference)).abs().mean().item()
    measured["warm_up_accuracy_change"] = accuracy(warm, reference) - accuracy(start, reference)
    return {name: value for name, value in measured.items() if isfinite(value)}


def two_parts(test: ImageSet, most: int = 500) -> tuple[ImageSet, ImageSet]:
    """Two disjoint parts of the test set, of at most `most` images each."""
    require_images(test, "test", least=2)
    half = min(most, len(test) // 2)
    return test[:half], test[half : 2 * half]


def learned_parameters(network: nn.Module) -> int:
    """How many numbers can still be trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@torch.no_grad()
def logits_of(network: nn.Module, data: ImageSet) -> Logits:
    """The network's answers to a few images, in evaluation mode."""
    return network.eval()(data.images.float() / 255)


@torch.no_grad()
def features(network: Polarized, images: Images, place: str) -> Features:
    """What leaves the polarizer, averaged over its grid; or, at the `head`, what enters the last linear layer."""
    layer = readout_of(network) if place == "head" else place
    with tap(network, layer, inputs=place == "head") as tapped:
        network(images)
    return tapped[layer].flatten(1) if place == "head" else tapped[layer].flatten(2).mean(2)


def centroids(rows: Features, labels: Labels) -> dict[int, Float[Tensor, " d"]]:
    """The mean features of every class in `labels`."""
    return {int(label): rows[labels == label].mean(0) for label in labels.unique()}


def nearest_class(network: Polarized, reference: ImageSet, images: Tensor, place: str) -> Labels:
    """For each of the stored `images`, the class whose clean `reference` images are nearest in the mean."""
    middles = centroids(features(network, reference.images.float() / 255, place), reference.labels)
    distances = torch.cdist(features(network, images.float() / 255, place), torch.stack(list(middles.values())))
    return torch.tensor(list(middles), device=distances.device)[distances.argmin(1)]


def trigger_shift(network: Polarized, images: Tensor, trigger: Trigger, place: str) -> float:
    """How far the trigger moves features, over how far clean images are from their mean: root mean squares."""
    plain = features(network, images.float() / 255, place)
    moved = features(network, apply_trigger(images, trigger).float() / 255, place)
    return ((moved - plain).square().sum(1).mean() / (plain - plain.mean(0)).square().sum(1).mean()).sqrt().item()


def attack_aims(network: Polarized, clean: ImageSet, target_label: int, *, attack: SmallAttack) -> dict[str, float]:
    """Of the defender's images of other classes, the share whose second most likely class is the attacker's target.

    And of all images: the share that the small attack brings to its second class, and the shares where a finite mask,
    the MindSpore port's and the PyTorch code's, would have chosen the true class.
    """
    images, labels = clean.images[:500].float() / 255, clean.labels[:500]
    with torch.no_grad():
        logits = network(images)
    targets = second_most_likely_class(logits, labels, mask=-inf)
    attacked = attack(network, images, targets)
    with torch.no_grad():
        reached = network(attacked).argmax(1) == targets
    return {
        "second_class_is_target": share(targets[labels != target_label] == target_label),
        "small_attack_succeeds": share(reached),
        "mask_1e-10_misses": share(second_most_likely_class(logits, labels, mask=-1e-10) == labels),
        "mask_10_misses": share(second_most_likely_class(logits, labels, mask=-10.0) == labels),
    }


def channel_changes(
    start: Polarized, defended: Polarized, images: ImageSet, trigger: Trigger
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """How much the trigger changes each channel, and how much the polarizer changes it on triggered images."""
    by_trigger = trigger_activated_change(start, images, trigger, ["polarizer"])["polarizer"]
    pixels = apply_trigger(images.images, trigger).float() / 255
    with torch.no_grad(), tap(start, "polarizer") as before, tap(defended, "polarizer") as after:
        start(pixels), defended(pixels)
    return by_trigger, (after["polarizer"] - before["polarizer"]).abs().mean((0, 2, 3))


def change_follows_trigger(start: Polarized, defended: Polarized, images: ImageSet, trigger: Trigger) -> float:
    """Rank correlation over channels of the two `channel_changes`; nan without a trigger."""
    by_trigger, by_filter = channel_changes(start, defended, images, trigger)
    return rank_correlation(by_trigger, by_filter) if by_trigger.amax() > 0 else float("nan")


def plane(rows: Features) -> tuple[Float[Tensor, " d"], Float[Tensor, "d 2"]]:
    """Mean and the two directions of largest variance, each turned so that its largest entry is positive."""
    mean = rows.mean(0)
    directions = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:2].T
    largest = directions.abs().argmax(0)
    return mean, directions * directions[largest, torch.arange(2)].sign()
