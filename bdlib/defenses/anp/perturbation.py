"""Filters perturbed_logits: relative changes of the weights and biases of every BatchNorm, at random or where they hurt most.

Wu and Wang 2021, arXiv:2110.14430: backdoor filters are the ones that a network can least bear to have perturbed_logits.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.func import functional_call

from bdlib.training.filter_masks import Masked, batch_norms
from bdlib.types import Batch, Images, Logits


class NeuronPerturbation(NamedTuple):
    """Relative changes of BatchNorm, a number for each channel of each layer, in the masks' order."""

    weights: list[Tensor]  # delta: added to the mask
    biases: list[Tensor]  # xi: the bias is multiplied by 1 + xi


def adversarial_perturbation(
    masked: Masked, batch: Batch, *, perturbation: float, variant: str, generator: Generator
) -> NeuronPerturbation:
    """One step of size `perturbation` up the gradient's sign from a random start: the changes that hurt most.

    Released: start and step may add up to twice `perturbation`; in the paper it is the bound.
    """
    sizes = [len(mask) for mask in masked.masks]
    drawn = [2 * perturbation * torch.rand(size, generator=generator) - perturbation for size in sizes * 2]
    start = [noise.to(batch.labels.device).requires_grad_() for noise in drawn]
    half, bound = len(sizes), perturbation * (2 if variant == "released" else 1)
    logits = perturbed_logits(masked, batch.images, NeuronPerturbation(start[:half], start[half:]))
    slopes = torch.autograd.grad(F.cross_entropy(logits, batch.labels), start)
    moved = (n.detach() + perturbation * slope.sign() for n, slope in zip(start, slopes, strict=True))
    ends = [noise.clamp(-bound, bound) for noise in moved]
    return NeuronPerturbation(ends[:half], ends[half:])


def perturbed_logits(masked: Masked, images: Images, shake: NeuronPerturbation) -> Logits:
    """The masked network's logits when its BatchNorm weights are (m + delta) w and its biases (1 + xi) b."""
    layers = batch_norms(masked.model)
    factors = {name: m + d for name, m, d in zip(masked.names, masked.masks, shake.weights, strict=True)}
    biases = {f"{n}.bias": layers[n].bias * (1 + xi) for n, xi in zip(masked.names, shake.biases, strict=True)}
    return functional_call(masked.model, masked.scaled(factors) | biases, (images,))
