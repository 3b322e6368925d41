"""NPD's small targeted attacks, and the classes that they aim at. Zhu et al., NeurIPS 2023, arXiv:2306.16697."""

from math import inf

import torch
import torch.nn.functional as F
from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.types import Images, Labels, Logits


def second_most_likely_class(logits: Logits, labels: Labels, *, mask: float = -inf) -> Labels:
    """The most likely class of each image other than its own, whose logit is overwritten by `mask`.

    With a finite mask it can be the image's own class after all: wherever every other logit is smaller still.
    """
    return logits.detach().scatter(1, labels[:, None], mask).argmax(1)


@checked
def targeted_pgd(
    network: nn.Module,
    images: Images,
    targets: Labels,
    *,
    radius: ranges.Radius,
    step_size: ranges.PositiveFraction,
    inner_steps: ranges.Count,
    enough: float = 0.6,  # released code
) -> Images:
    """`images` moved so that `network` takes them for `targets`, each by at most `radius` (L2); pixels stay in [0, 1].

    Each of at most `inner_steps` steps moves every pixel by `step_size` along the sign of the gradient, and is followed
    by a projection onto the ball. The attack ends early when more than the share `enough` of the images has arrived.
    """
    shift = torch.zeros_like(images)
    for step in range(inner_steps):
        logits = network((images + shift.requires_grad_()).clamp(0, 1))
        if step and (logits.argmax(1) == targets).float().mean() > enough:
            break
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, targets), shift)
        shift = project(shift.detach() - step_size * gradient.sign(), radius)
    return (images + shift.detach()).clamp(0, 1)


def project(shift: Images, radius: float) -> Images:
    """Each image's shift, scaled down to length `radius` where it is longer."""
    length = shift.flatten(1).norm(dim=1)[:, None, None, None]
    return shift * (radius / length.clamp(min=1e-12)).clamp(max=1)
