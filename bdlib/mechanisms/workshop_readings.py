"""One number for each tool that looks inside a network: what the workshop reads, given the same images and trigger."""

import torch
from torch import Generator, Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.defenses.clp.method import lipschitz_bounds
from bdlib.evaluation import activations, saliency
from bdlib.evaluation.confusion import confusion_of
from bdlib.evaluation.detection import auroc
from bdlib.evaluation.embedding import island_purity
from bdlib.evaluation.landscape import hessian_eigenvalue, loss_at, random_direction
from bdlib.evaluation.shapley import credit_inside, superpixel_shapley
from bdlib.evaluation.trigger_analysis import trigger_activated_change
from bdlib.mechanisms.workshop_look import Look, mixed, quadrant, touched_cells
from bdlib.models import predict, readout_of
from bdlib.types import Labels

RADIUS = 0.25  # of the random moves in the loss landscape, in each filter's own length
CURVED = 100  # images for the curvature, which takes the longest
CREDITED = 8  # images for Shapley values


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
    """The largest eigenvalue of the clean loss's Hessian, to four digits: the iteration ends at a tolerance."""
    return float(f"{hessian_eigenvalue(model, look.attacked.clean[:CURVED]):.4g}")


def _separates(pair: list[Tensor]) -> float:
    clean, triggered = pair
    which = torch.arange(len(clean) + len(triggered), device=clean.device) >= len(clean)
    return auroc(torch.cat([clean, triggered]), which)
