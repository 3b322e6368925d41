"""Fine-tuning with sharpness-aware minimisation (FT-SAM). Zhu et al., ICCV 2023, arXiv:2304.11823.

A backdoored network already fits the defender's clean images, so plain fine-tuning has little gradient to follow and
leaves the backdoor. Here every step first moves the weights uphill, each in proportion to its size, and then descends
by the gradient found there. Large weights, which the paper finds in the backdoor's filters, are disturbed most.
"""

from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch.nn.functional as F
from torch import nn

from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule, train
from bdlib.training.sam import SharpnessAware
from bdlib.types import Batch, Labels, Logits, Loss


def ft_sam(
    model: nn.Module,
    clean: ImageSet,
    *,
    rho: float = 2.0,  # radius of the uphill move; paper: 2 for CIFAR-10, 8 for Tiny ImageNet and GTSRB
    adaptive: bool = True,  # move each weight in proportion to its size; paper and released code
    label_smoothing: float = 0.0,  # paper: plain cross-entropy; released code: 0.1 for CIFAR-10
    epochs: int = 100,  # paper, for CIFAR-10; 50 for GTSRB
    learning_rate: float = 0.01,  # paper and released code
    batch_size: int = 256,  # paper and released code
    augmentation: int | None = 4,  # pixels of random crop, with mirroring; paper not seen, released code
    variant: Literal["paper", "released"] = "paper",
    seed: int = 0,
) -> nn.Module:
    """A fine-tuned copy of `model`, all layers trained; `clean` is the defender's small trusted set.

    With `rho` zero this is plain fine-tuning. `variant="released"` takes the released code's learning rates, which
    swing and end at their highest.
    """

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        return smoothed_cross_entropy(network(batch.images), batch.labels, label_smoothing)

    tuned = deepcopy(model).requires_grad_(True)
    shape = Swinging if variant == "released" else Schedule
    schedule = shape(epochs, learning_rate, batch_size=batch_size, augmentation=augmentation, seed=seed)
    optimizer = SharpnessAware(tuned, schedule.sgd(tuned.parameters()), rho=rho, adaptive=adaptive)
    return train(tuned, clean, schedule, loss_fn=loss_fn, optimizer=optimizer)


@dataclass(frozen=True)
class Swinging(Schedule):
    """The released code's rates: a cosine from full to zero made for 100 epochs, but advanced at every step.

    The rate comes back up after 100 steps, and again and again. After the paper's 1,000 steps it stands at its highest.
    """

    half_period: int = 100  # steps; T_max of the released code

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The share of the highest learning rate that this step takes, in [0, 1]."""
        return (1 + cos(pi * step / self.half_period)) / 2


def smoothed_cross_entropy(logits: Logits, labels: Labels, label_smoothing: float) -> Loss:
    """Mean cross-entropy against 1 - s on the true class and s / (k - 1) on each of the others.

    The released code minimises the divergence from that target, which is this loss minus a constant. torch spreads
    its smoothing over all k classes, the true one included: hence the factor.
    """
    classes = logits.shape[1]
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing * classes / (classes - 1))
