"""Adversarial examples that two models share: small changes of an image that fool both into the same wrong class.

The inner problem of shared adversarial unlearning. Wei et al., NeurIPS 2023, arXiv:2307.10562; released code.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bdlib.types import Images, Labels, Logits, Loss


class Flips(NamedTuple):
    """Whom an image's perturbation fools, a truth value an image. Fooled: another answer than on the clean image."""

    model: Bool[Tensor, " n"]
    frozen: Bool[Tensor, " n"]
    shared: Bool[Tensor, " n"]  # both, into the same class


def shared_adversarial_examples(
    model: nn.Module,
    frozen: nn.Module,
    images: Images,
    labels: Labels,
    *,
    beta_1: float = 0.01,  # weight of fooling either model; paper not seen; released code, as all below
    beta_2: float = 1.0,  # weight of fooling them alike
    epsilon: float = 0.2,  # largest change of a pixel
    step_size: float = 0.2,  # of a pixel, each step
    inner_steps: int = 5,
) -> Images:
    """A perturbation for each image, in [-epsilon, epsilon], that should fool both models into the same class.

    Signed gradient steps down `sharing_loss`, from +epsilon everywhere. Both models must be in evaluation mode: then
    no image depends on another, and those that are shared already, which have no gradient, are left out. The sum of
    image and perturbation is not clipped. No weight of either model receives a gradient.
    """
    with torch.no_grad():
        usual, frozen_usual = model(images), frozen(images)
    torch.clear_autocast_cache()  # under autocast it now holds weights without gradient, and they would be used again
    shift, left = torch.full_like(images, epsilon), torch.arange(len(images), device=images.device)
    for _ in range(inner_steps):
        moved = shift[left].requires_grad_()
        ours, theirs = model(images[left] + moved), frozen(images[left] + moved)
        found = flips(ours, theirs, usual[left], frozen_usual[left])
        if found.shared.all():
            break
        loss = sharing_loss(ours, theirs, labels[left], found, beta_1=beta_1, beta_2=beta_2)
        (gradient,) = torch.autograd.grad(loss, moved)  # the sign is blind to the number of images in the mean
        stepped = (moved.detach() - step_size * gradient.sign()).clamp(-epsilon, epsilon)
        shift[left[~found.shared]] = stepped[~found.shared]
        left = left[~found.shared]
    return shift


def flips(model: Logits, frozen: Logits, model_clean: Logits, frozen_clean: Logits) -> Flips:
    """Which images' answers the perturbation changes, from both models' logits with it and without."""
    ours, theirs = model.argmax(1), frozen.argmax(1)
    fooled, frozen_fooled = ours != model_clean.argmax(1), theirs != frozen_clean.argmax(1)
    return Flips(fooled, frozen_fooled, fooled & frozen_fooled & (ours == theirs))


def sharing_loss(
    model: Logits, frozen: Logits, labels: Labels, found: Flips, *, beta_1: float = 0.01, beta_2: float = 1.0
) -> Loss:
    """What the perturbation minimises: beta_1 times minus the cross-entropy, plus beta_2 times the divergence.

    The cross-entropy counts for each model where it is not fooled yet, halved; the divergence of the two models'
    answers where they are not fooled alike. Sums over images, divided by the number of all.
    """
    ours, theirs = (F.cross_entropy(logits, labels, reduction="none") for logits in (model, frozen))
    fooling = -(ours[~found.model].sum() + theirs[~found.frozen].sum()) / 2
    sharing = jensen_shannon(model, frozen)[~found.shared].sum()
    return (beta_1 * fooling + beta_2 * sharing) / len(labels)


def jensen_shannon(one: Logits, other: Logits) -> Float[Tensor, " n"]:
    """The Jensen-Shannon divergence of two models' answers to each image, in [0, ln 2]; 0 where they agree.

    Probabilities are thresholded_loss at 1e-8, as in the released code.
    """
    p, q = (logits.softmax(1).clamp_min(1e-8) for logits in (one, other))
    middle = (p + q) / 2
    return (p * (p / middle).log() + q * (q / middle).log()).sum(1) / 2
