"""Asleep or gone: waking the backdoor of a repaired network by one small perturbation of all images.

An audit for whoever holds the trigger. It never changes the network that it looks at.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.models import evaluation_mode, share
from bdlib.types import Logits

Perturbation = Float[Tensor, "1 c h w"]
Epsilon = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # largest change of a pixel
Rule = Literal["sign", "gradient"]


@checked
def universal_perturbation(
    model: nn.Module,
    images: ImageSet,
    *,
    target_label: TargetLabel,
    epsilon: Epsilon = 0.05,
    steps: Annotated[int, Field(ge=1, le=100_000)] = 30,
    batch_size: ranges.BatchSize = 100,
    rule: Rule = "sign",
    learning_rate: ranges.LearningRate = 0.05,  # of the rule "gradient"; the rule "sign" moves by epsilon / 5
    seed: ranges.Seed = 0,
) -> Perturbation:
    """One perturbation, at most `epsilon` a pixel, that makes `model` take all of `images` for `target_label`.

    Give triggered images to wake a backdoor. The loss is cross-entropy with the target plus a term that lowers the most
    probable other class. Zhu, Liang and Wu, NeurIPS 2024, arXiv:2405.16134: the white-box attack. The released code
    follows the gradient (`rule="gradient"`) for 50 rounds of 5 steps a batch; signs need fewer steps, as they do not
    depend on the gradient's size. Raises ParameterError for a keyword out of range.

    Example: `universal_perturbation(repaired, triggered, target_label=0, epsilon=0.05)`
    """
    generator = Generator().manual_seed(seed)
    shape, device = (1, *images.images.shape[1:]), images.images.device
    change = ((2 * torch.rand(shape, generator=generator) - 1) * epsilon).to(device)
    taken = 0
    with evaluation_mode(model), torch.enable_grad():
        while taken < steps and epsilon > 0:
            for batch in batches(images, batch_size, generator=generator):
                if taken == steps:
                    break
                change.requires_grad_()
                loss = waking_loss(model((batch.images + change).clamp(0, 1)).float(), target_label)
                (slope,) = torch.autograd.grad(loss, change)
                step = slope.sign() * epsilon / 5 if rule == "sign" else learning_rate * slope
                change = (change.detach() - step).clamp(-epsilon, epsilon)
                taken += 1
    return change.detach()


def waking_loss(logits: Logits, target_label: int) -> Float[Tensor, ""]:
    """Cross-entropy with the target, plus -log(1.0001 - p) for the probability p of the likeliest other class."""
    other = logits.softmax(1).index_fill(1, torch.tensor([target_label], device=logits.device), 0).amax(1)
    wanted = torch.full((len(logits),), target_label, device=logits.device)
    return F.cross_entropy(logits, wanted) - (1.0001 - other).log().mean()


def random_perturbation(like: Perturbation, epsilon: float, seed: int = 0) -> Perturbation:
    """The control: every pixel moved by `epsilon` up or down at random."""
    signs = torch.randint(2, like.shape, generator=Generator().manual_seed(seed)) * 2 - 1
    return (signs * epsilon).to(like)


@checked
@torch.no_grad()
def success(
    model: nn.Module, images: ImageSet, change: Perturbation | None = None, *, target_label: TargetLabel
) -> float:
    """The share of `images` that `model` takes for the target, with `change` added to each and pixels kept in [0, 1].

    Example: `success(repaired, attacked.triggered, change, target_label=0)` is the ASR after re-activation.
    """
    with evaluation_mode(model):
        hits = [
            model(batch.images if change is None else (batch.images + change).clamp(0, 1)).argmax(1) == target_label
            for batch in batches(images, 500)
        ]
    return share(torch.cat(hits))
