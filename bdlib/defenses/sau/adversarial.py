"""Adversarial examples that two models share: small changes of an image that fool both into the same wrong class.

The inner problem of shared adversarial unlearning. Wei et al., NeurIPS 2023, arXiv:2307.10562; released code.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.types import Images, Labels, Logits, Loss


class Flips(NamedTuple):
    """Which models the perturbation of each image fools: their answer is another one than on the clean image."""

    model: Bool[Tensor, " n"]
    frozen: Bool[Tensor, " n"]
    shared: Bool[Tensor, " n"]  # both, into the same class


@checked
def shared_adversarial_examples(
    model: nn.Module,
    frozen: nn.Module,
    images: Images,
    labels: Labels,
    *,
    beta_1: ranges.Weight = 0.01,  # of fooling either model; paper not seen; released code, as all below
    beta_2: ranges.Weight = 1.0,  # of fooling them alike
    epsilon: ranges.Fraction = 0.2,  # largest change of a pixel
    step_size: ranges.PositiveFraction = 0.2,  # of a pixel, each step
    inner_steps: ranges.Count = 5,
) -> Images:
    """A perturbation for each image, in [-epsilon, epsilon], that should fool both models into the same class.

    It takes signed gradient steps down `sharing_loss`, from +epsilon everywhere. Both models must be in evaluation
    mode: then no image depends on another, and images that are shared already, which have no gradient, are left out.
    The sum of image and perturbation is not clipped. No weight of either model receives a gradient. Raises
    ParameterError for a keyword out of range.

    Example::

        examples = images + shared_adversarial_examples(model, frozen, images, labels, inner_steps=2)
    """
    with torch.no_grad():
        usual, frozen_usual = model(images), frozen(images)
    torch.clear_autocast_cache()  # under autocast it now holds weights without gradient, and they would be used again
    shift, left = torch.full_like(images, epsilon), torch.arange(len(images), device=images.device)
    for _ in range(inner_steps):
        moved = shift[left].requires_grad_()
        ours, theirs = model(images[left] + moved), frozen(images[left] + moved)
        fooled = flips(ours, theirs, usual[left], frozen_usual[left])
        if fooled.shared.all():
            break
        loss = sharing_loss(ours, theirs, labels[left], fooled, beta_1=beta_1, beta_2=beta_2)
        (gradient,) = torch.autograd.grad(loss, moved)  # its sign does not depend on the number of images in the mean
        stepped = (moved.detach() - step_size * gradient.sign()).clamp(-epsilon, epsilon)
        shift[left[~fooled.shared]] = stepped[~fooled.shared]
        left = left[~fooled.shared]
    return shift


def flips(model: Logits, frozen: Logits, model_clean: Logits, frozen_clean: Logits) -> Flips:
    """The images whose answers the perturbation changes, from both models' logits with it and without it."""
    ours, theirs = model.argmax(1), frozen.argmax(1)
    is_fooled, is_frozen_fooled = ours != model_clean.argmax(1), theirs != frozen_clean.argmax(1)
    return Flips(is_fooled, is_frozen_fooled, is_fooled & is_frozen_fooled & (ours == theirs))


def sharing_loss(
    model: Logits, frozen: Logits, labels: Labels, fooled: Flips, *, beta_1: float = 0.01, beta_2: float = 1.0
) -> Loss:
    """The loss that the perturbation minimizes: beta_1 times minus the cross-entropy, plus beta_2 times the divergence.

    The cross-entropy is halved, and counts for each model on images where it is not fooled yet. The divergence counts
    on images that do not fool both models alike. Both are sums over images, divided by the number of all.
    """
    ours, theirs = (F.cross_entropy(logits, labels, reduction="none") for logits in (model, frozen))
    fooling = -(ours[~fooled.model].sum() + theirs[~fooled.frozen].sum()) / 2
    sharing = jensen_shannon(model, frozen)[~fooled.shared].sum()
    return (beta_1 * fooling + beta_2 * sharing) / len(labels)


def jensen_shannon(one: Logits, other: Logits) -> Float[Tensor, " n"]:
    """The Jensen-Shannon divergence of two models' answers to each image, in [0, ln 2]; 0 where they agree.

    Probabilities are clamped to at least 1e-8, as in the released code.
    """
    p, q = (logits.softmax(1).clamp_min(1e-8) for logits in (one, other))
    middle = (p + q) / 2
    return (p * (p / middle).log() + q * (q / middle).log()).sum(1) / 2
