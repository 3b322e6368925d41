"""Adversarial unlearning of backdoors by the implicit hypergradient (I-BAU). Zeng et al., ICLR 2022, arXiv:2110.03735.

A trigger is seen as one perturbation that fools the network on all images. The repair is a min-max problem: weights are
sought whose worst such perturbation inside a ball does least harm. When the weights move, the worst perturbation moves
with them; the implicit hypergradient takes this into account.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from fractions import Fraction
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.defenses.i_bau.hypergradient import Perturbation, hypergradient
from bdlib.training.demands import trainable
from bdlib.training.loop import Epoch
from bdlib.types import Batch, Images, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers
FIXED_POINT_STEP = 0.1  # s of the map whose fixed point the worst perturbation is; this and below: released code
PENALTY = 0.001  # of the squared length of the perturbation


@checked
def i_bau(
    model: nn.Module,
    clean: ImageSet,
    *,
    unlearning_rounds: ranges.CountOrZero = 5,  # paper not seen; this and all below: released code
    fixed_point_steps: ranges.CountOrZero = 5,  # K, terms of the series; 0: the perturbation is taken as fixed
    outer_rate: ranges.LearningRate = 1e-3,  # of Adam
    inner_rate: ranges.LearningRate = 10.0,  # of the ascent, one step a batch
    ball_radius: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 10.0,  # of L2; released: its notebook's
    perturbed_share: ranges.Fraction = 0.01,  # of each batch of the outer problem
    batch_size: ranges.BatchSize = 100,
    variant: ranges.Variant = "paper",  # released: no ball, and no perturbed image in batches that are too small
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. BatchNorm's statistics stay as they are.

    Each round first searches the perturbation, from zero, in one pass over the images. A second pass then trains all
    weights, one step of Adam for each batch. Batches come in the order of `clean`, without augmentation, and all is
    computed in the network's own precision.

    Example::

        repaired = i_bau(victim, clean, unlearning_rounds=3, perturbed_share=0.1)

    `on_event` is told "perturbation" in each round and "epoch" (`bdlib.training.loop.Epoch`) after it. Raises
    ParameterError for a keyword out of range and FloatingPointError after a round whose mean loss is not finite.
    """
    network, generator = deepcopy(model).eval().requires_grad_(True), Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(trainable(network.parameters()), outer_rate)
    radius = ball_radius if variant == "paper" else None
    for number in range(unlearning_rounds):
        parts = list(batches(clean, batch_size))
        shift = universal_perturbation(network, parts, inner_rate=inner_rate, ball_radius=radius)
        on_event("perturbation", shift)
        losses = []
        for part in parts:
            count = perturbed_count(len(part.labels), perturbed_share, variant=variant)
            chosen = torch.randperm(len(part.labels), generator=generator)[:count].to(part.labels.device)
            losses.append(_descend(network, optimizer, parts[0], part, shift, chosen, fixed_point_steps))
        mean_loss = torch.stack(losses).mean().item()
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"the loss is {mean_loss} after round {number}")
        on_event("epoch", Epoch(number, mean_loss, network))
    return network


def perturbed_count(size: int, perturbed_share: float, *, variant: ranges.Variant = "paper") -> int:
    """How many of a batch of `size` images get the perturbation: rounded up, at least one unless the share is 0.

    The released code rounds down. Of fewer than 100 images with a share of 0.01 it perturbs none, and only fine-tunes.
    """
    if variant == "released":
        return int(perturbed_share * size)
    return math.ceil(Fraction(str(perturbed_share)) * size)  # as it is written: 0.07 * 100 is above 7 in binary


def universal_perturbation(
    model: nn.Module, parts: Sequence[Batch], *, inner_rate: float, ball_radius: float | None
) -> Perturbation:
    """One perturbation that moves the predictions on all batches, by a step of gradient ascent on each.

    It climbs the cross-entropy with the model's own predictions, less a penalty on its length, and is brought back into
    the ball after each step; None: it may be of any length. `model` must be in evaluation mode. The released notebook
    shortens it once, after the last step: with one batch that is the same, with more it is another perturbation.
    """
    shift = torch.zeros_like(parts[0].images[:1])
    for part in parts:
        with torch.no_grad():
            predicted = model(part.images).argmax(1)
        moved = shift.requires_grad_()
        (slope,) = torch.autograd.grad(inner_loss(model, part._replace(labels=predicted), moved), moved)
        shift = (moved - inner_rate * slope).detach()
        if ball_radius is not None:
            shift = project(shift, ball_radius)
    return shift


def project(shift: Perturbation, ball_radius: float) -> Perturbation:
    """The perturbation, shortened to the radius of the L2 ball if it is longer."""
    return shift * (ball_radius / shift.norm().clamp_min(1e-12)).clamp_max(1)


def inner_loss(model: nn.Module, batch: Batch, shift: Perturbation) -> Loss:
    """What the perturbation minimizes: minus the mean cross-entropy, plus the penalty on its squared length."""
    return -F.cross_entropy(model(batch.images + shift), batch.labels) + PENALTY * shift.square().sum()


def outer_loss(model: nn.Module, batch: Batch, shift: Perturbation, chosen: Tensor) -> Loss:
    """What the weights minimize: the mean cross-entropy, with the perturbation on the `chosen` images alone."""
    mask = batch.images.new_zeros(len(batch.labels), 1, 1, 1)
    mask[chosen] = 1
    images: Images = batch.images + mask * shift
    return F.cross_entropy(model(images), batch.labels)


def _descend(
    network: nn.Module, optimizer: torch.optim.Optimizer, first: Batch, batch: Batch, shift: Perturbation,
    chosen: Tensor, fixed_point_steps: int,
) -> Loss:  # fmt: skip
    """One step of the outer problem; returns its loss. The fixed point is that of the `first` batch, by true labels."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    moved = shift.detach().requires_grad_()
    outer, mapped = outer_loss(network, batch, moved, chosen), moved
    if fixed_point_steps and len(chosen):
        with sdpa_kernel(SDPBackend.MATH):  # torch's fused attention has no second derivatives
            inner = inner_loss(network, first, moved)
        (slope,) = torch.autograd.grad(inner, moved, create_graph=True)
        mapped = moved - FIXED_POINT_STEP * slope
    gradients = hypergradient(outer, mapped, moved, weights, fixed_point_steps=fixed_point_steps)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    optimizer.step()
    return outer.detach()
