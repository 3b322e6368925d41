"""One number for each tool that looks inside a network: what the workshop reads, given the same images and trigger."""

from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Generator, Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.defenses.clp.method import lipschitz_bounds
from bdlib.evaluation import activations, saliency
from bdlib.evaluation.apply_trigger import AllToOne, AttackedSet, attacked_set
from bdlib.evaluation.confusion import confusion_of
from bdlib.evaluation.detection import auroc
from bdlib.evaluation.embedding import island_purity
from bdlib.evaluation.landscape import hessian_eigenvalue, loss_at, random_direction
from bdlib.evaluation.shapley import credit_inside, superpixel_shapley
from bdlib.evaluation.trigger_analysis import trigger_activated_change
from bdlib.models import predict, readout_of
from bdlib.types import Labels, Trigger

RADIUS = 0.25  # of the random moves in the loss landscape, in each filter's own length
LOCAL = 0.5  # a trigger that changes a larger share of the pixels has no place in the image
CURVED = 100  # images for the curvature, which takes the longest
CREDITED = 8  # images for Shapley values

Region = Bool[Tensor, "h w"]


class Look(NamedTuple):
    """What a tool is shown, beside the network."""

    attacked: AttackedSet
    trigger: Trigger
    layer: str
    target_label: int
    region: Region | None  # pixels that the trigger changes; None where it is all over the image
    cells: int  # a side of the grid of superpixels
    orders: int  # random orders of the cells


def looking_at(
    test: ImageSet, trigger: Trigger, *, layer: str, looked_at: int, cells: int, orders: int, target_label: int
) -> Look:
    """The first test images of other classes with their triggered copies, and where the trigger is."""
    others = test[test.labels != target_label][:looked_at]
    attacked = attacked_set(others, trigger, AllToOne(target_label))
    changed = (attacked.triggered.images != attacked.clean.images).any(1).double().mean(0) > 0.05
    share = changed.double().mean().item()
    return Look(attacked, trigger, layer, target_label, changed if 0 < share <= LOCAL else None, cells, orders)


def mixed(attacked: AttackedSet) -> tuple[ImageSet, Bool[Tensor, " n"]]:
    """Three clean images for each triggered one, of other images, and which are triggered."""
    count = len(attacked.clean) // 4
    images = torch.cat([attacked.clean.images[count:], attacked.triggered.images[:count]])
    labels = torch.cat([attacked.clean.labels[count:], attacked.triggered.labels[:count]])
    return ImageSet(images, labels), torch.arange(len(labels), device=labels.device) >= len(labels) - count


def confusion(model: nn.Module, look: Look) -> float:
    """The share of triggered images in the target's column."""
    guesses = predict(model, look.attacked.triggered)
    table = confusion_of(look.attacked.triggered.labels, guesses, classes=_classes(look, guesses))
    counts = torch.bincount(look.attacked.triggered.labels, minlength=len(table)).cpu().double()
    return (counts @ table)[look.target_label].item() / counts.sum().item()


def _classes(look: Look, guesses: Labels) -> int:
    return max(int(guesses.max()), int(look.attacked.triggered.labels.max()), look.target_label) + 1


def neuron(model: nn.Module, look: Look) -> float:
    """The largest change of a feature's mean by the trigger, in mean features."""
    found = activations.neuron_activation(model, look.attacked.clean, look.trigger, readout_of(model), inputs=True)
    return ((found.triggered - found.clean).abs().max() / found.clean.abs().mean()).item()


def change(model: nn.Module, look: Look) -> float:
    """The largest trigger-activated change of a filter of the layer, in mean activations."""
    clean = look.attacked.clean
    tac = trigger_activated_change(model, clean, look.trigger, [look.layer])[look.layer]
    return (tac.max() / activations.unit_activations(model, clean, look.layer).abs().mean()).item()


def purity(model: nn.Module, look: Look) -> float:
    """Of the layer's filters, the highest share of triggered images among those that excite it most; a quarter are."""
    images, is_triggered = mixed(look.attacked)
    scores = activations.unit_activations(model, images, look.layer)
    shares = activations.group_shares(scores, is_triggered.long(), int(is_triggered.sum()), of=[1])
    return shares.max().item()


def cam(model: nn.Module, look: Look) -> float:
    """How often Grad-CAM puts more into the trigger's quadrant with the trigger than without; chance is a half."""
    assert look.region is not None
    inside, found = quadrant(look.region), []
    for images in (look.attacked.clean, look.attacked.triggered):
        maps = saliency.grad_cam(model, images, look.layer, predict(model, images))
        found.append(saliency.mass_inside(maps, inside))
    return _separates(found)


def quadrant(region: Region) -> Region:
    """The quadrant of the image that holds most of the region."""
    middle = region.shape[0] // 2, region.shape[1] // 2
    parts = []
    for rows in (slice(0, middle[0]), slice(middle[0], None)):
        for columns in (slice(0, middle[1]), slice(middle[1], None)):
            part = torch.zeros_like(region)
            part[rows, columns] = True
            parts.append(part)
    return max(parts, key=lambda part: int((part & region).sum()))


def frequency(model: nn.Module, look: Look) -> float:
    """How often the gradient leans more to high frequencies with the trigger than without, or less; from a half."""
    found = [
        -saliency.low_to_high(saliency.frequency_saliency(saliency.input_gradients(model, images)))
        for images in (look.attacked.clean, look.attacked.triggered)
    ]
    one = _separates(found)
    return max(one, 1 - one)


def shapley(model: nn.Module, look: Look) -> float:
    """The share of the credit for the target class that the trigger's cells have in triggered images."""
    assert look.region is not None
    shown = look.attacked.triggered[:CREDITED]
    credit = superpixel_shapley(model, shown, target=look.target_label, cells=look.cells, orders=look.orders)
    return credit_inside(credit, touched_cells(look.region, look.cells)).mean().item()


def touched_cells(region: Region, cells: int) -> Bool[Tensor, "g g"]:
    """The cells of the grid in which the region is."""
    height, width = region.shape[0] // cells, region.shape[1] // cells
    return region.unflatten(1, (cells, width)).unflatten(0, (cells, height)).any(3).any(1)


def island(model: nn.Module, look: Look) -> float:
    """The share of triggered images among the ten nearest features of a triggered image; a quarter are."""
    images, is_triggered = mixed(look.attacked)
    return island_purity(features(model, images), is_triggered)


def features(model: nn.Module, images: ImageSet) -> activations.Units:
    """What enters the last linear layer."""
    return activations.unit_activations(model, images, readout_of(model), inputs=True)


def lipschitz(model: nn.Module, look: Look) -> float:
    """The most outlying channel's Lipschitz bound: deviations above its layer's mean. Asks for no image."""
    layers = [bounds for bounds in lipschitz_bounds(model).values() if len(bounds) > 1 and bounds.std() > 0]
    return max(((bounds.max() - bounds.mean()) / bounds.std()).item() for bounds in layers)


def landscape(model: nn.Module, look: Look) -> float:
    """By how much the clean loss rises on a random move of the weights, mean of three."""
    images, generator = look.attacked.clean[:CURVED], Generator().manual_seed(0)
    moved = [loss_at(model, images, random_direction(model, generator), RADIUS) for _ in range(3)]
    return sum(moved) / 3 - loss_at(model, images, {}, 0.0)


def curvature(model: nn.Module, look: Look) -> float:
    """The largest eigenvalue of the clean loss's Hessian."""
    return hessian_eigenvalue(model, look.attacked.clean[:CURVED])


def _separates(pair: list[Tensor]) -> float:
    clean, triggered = pair
    which = torch.arange(len(clean) + len(triggered), device=clean.device) >= len(clean)
    return auroc(torch.cat([clean, triggered]), which)
