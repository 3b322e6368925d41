"""Fine-tuning with sharpness-aware minimization (FT-SAM). Zhu et al., ICCV 2023, arXiv:2304.11823.

A backdoored network already fits the defender's clean images. So plain fine-tuning has little gradient to follow, and
the backdoor stays. Here every step first moves the weights uphill, each in proportion to its size, and then descends by
the gradient at that place. This disturbs large weights most. The paper finds large weights in the backdoor's filters.
"""

from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule, train
from bdlib.training.sam import SharpnessAware
from bdlib.types import Batch, Labels, Logits, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here, or in training/sam.py, changes numbers


@checked
def ft_sam(
    model: nn.Module,
    clean: ImageSet,
    *,
    rho: ranges.Radius = 2.0,  # of the uphill move; paper: 2 for CIFAR-10, 8 for Tiny ImageNet and GTSRB
    adaptive: bool = True,  # move each weight in proportion to its size; paper and released code
    label_smoothing: Annotated[
        float, Field(ge=0, le=0.5, allow_inf_nan=False)
    ] = 0.0,  # paper: none; released code: 0.1 for CIFAR-10
    epochs: ranges.CountOrZero = 100,  # paper, for CIFAR-10; 50 for GTSRB
    learning_rate: ranges.LearningRate = 0.01,  # paper and released code
    batch_size: ranges.BatchSize = 256,  # paper and released code
    augmentation: ranges.Augmentation = 4,  # paper not seen, released code
    variant: ranges.Variant = "paper",
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A fine-tuned copy of `model`, all layers trained; `clean` is the defender's small trusted set.

    Example::

        repaired = ft_sam(victim, clean, epochs=20, learning_rate=0.05, batch_size=64)

    With `rho` zero this is plain fine-tuning. `variant="released"` takes the released code's learning rates, which go
    up and down and end at their highest. `on_event` is told "epoch" (`bdlib.training.loop.Epoch`) after each epoch.
    Raises ParameterError for a keyword out of range.
    """

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        return smoothed_cross_entropy(network(batch.images), batch.labels, label_smoothing)

    tuned = deepcopy(model).requires_grad_(True)
    shape = Swinging if variant == "released" else Schedule
    schedule = shape(epochs, learning_rate, batch_size=batch_size, augmentation=augmentation, seed=seed)
    optimizer = SharpnessAware(tuned, schedule.sgd(tuned.parameters()), rho=rho, adaptive=adaptive)
    return train(tuned, clean, schedule, loss_fn=loss_fn, optimizer=optimizer, on_event=on_event)


@dataclass(frozen=True)
class Swinging(Schedule):
    """The released code's rates: a cosine from full to zero meant for 100 epochs, but advanced at every step.

    The rate reaches zero after 100 steps, rises again for 100, and so on. After the paper's 1,000 steps it is at its
    highest.
    """

    half_period: int = 100  # steps; T_max of the released code

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The share of the highest learning rate that this step takes, in [0, 1]."""
        return (1 + cos(pi * step / self.half_period)) / 2


def smoothed_cross_entropy(logits: Logits, labels: Labels, label_smoothing: float) -> Loss:
    """Mean cross-entropy against 1 - s on the true class and s / (k - 1) on each of the others.

    The released code minimizes the divergence from that target, which is this loss minus a constant. torch spreads its
    smoothing over all k classes, with the true one. The factor corrects for that.
    """
    classes = logits.shape[1]
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing * classes / (classes - 1))
