"""Telling poisoned training images by their loss, as ABL does. Li et al., NeurIPS 2021, arXiv:2110.11571.

A network fits triggered images sooner than honest ones. So train for a few epochs with a threshold_rule under the loss, which
the honest images keep to, and take the images of the lowest loss: most of them, or so the paper says, are poisoned.
"""

from collections.abc import Callable
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from bdlib.data.images import ImageSet, batches
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import Batch, Loss

ThresholdRule = Literal["lga", "flooding", "none"]
Losses = Float[Tensor, " n"]
Ids = Int[Tensor, " m"]  # positions of images in their set


def thresholded_loss(loss: Loss, *, gamma: float, threshold_rule: ThresholdRule = "lga") -> Loss:
    """The loss of a batch, turned round at `gamma`: below it a step climbs, above it a step descends.

    "lga", local gradient ascent, is the paper's ``sign(L - gamma) L``; "flooding", the released code's default, is
    ``|L - gamma| + gamma``. Their gradients are equal, and zero where L is gamma. "none" leaves the loss alone.
    """
    if threshold_rule == "none":
        return loss
    return torch.sign(loss - gamma) * loss if threshold_rule == "lga" else (loss - gamma).abs() + gamma


def train_with_loss_threshold(
    model: nn.Module,
    data: ImageSet,
    schedule: Schedule,
    *,
    gamma: float = 0.5,  # paper and released code, on CIFAR-10
    threshold_rule: ThresholdRule = "lga",
    in_order: bool = False,  # the same batches in every epoch, as in the released code; else shuffled
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> nn.Module:
    """Stage 1: `model`, trained in place on the poisoned `data` with a threshold_rule under the mean loss of each batch.

    `on_epoch(epoch, model)` may look at the model after each epoch.
    """
    fixed = chain.from_iterable(batches(data, schedule.batch_size) for _ in range(schedule.epochs))

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        return thresholded_loss(
            cross_entropy(network, next(fixed) if in_order else batch), gamma=gamma, threshold_rule=threshold_rule
        )

    def after_epoch(epoch: int, mean_loss: float) -> None:
        if on_epoch:
            on_epoch(epoch, model)

    return train(model, data, schedule, loss_fn=loss_fn, on_event=lambda _, e: after_epoch(e.number, e.mean_loss))


@torch.inference_mode()
def sample_losses(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> Losses:
    """The cross-entropy of every image, in the order of `data`, in evaluation mode; the model's mode is put back."""
    was_training = model.training
    model.eval()
    losses = [F.cross_entropy(model(b.images), b.labels, reduction="none") for b in batches(data, batch_size)]
    model.train(was_training)
    return torch.cat(losses)


def isolate(losses: Losses, isolation_rate: float) -> Ids:
    """The positions of the threshold_rule(rate n) images of lowest loss, the lowest first; ties in the order of the images.

    Raises ValueError when that is none of them, or more than there are.
    """
    return losses.argsort(stable=True)[: size(len(losses), isolation_rate)]


def draw(count: int, isolation_rate: float, *, seed: int) -> Ids:
    """As many positions out of `count`, at random, on the CPU: what isolation by loss must beat."""
    return torch.randperm(count, generator=Generator().manual_seed(seed))[: size(count, isolation_rate)]


def size(count: int, isolation_rate: float) -> int:
    """How many of `count` images are isolated. Raises ValueError unless it is from 1 to `count`."""
    chosen = int(isolation_rate * count + 1e-9)  # a threshold_rule, and 0.29 * 100 is not 28
    if not 1 <= chosen <= count:
        raise ValueError(f"isolation_rate={isolation_rate}: isolates {chosen} of {count} images")
    return chosen


def parted(data: ImageSet, ids: Ids) -> tuple[ImageSet, ImageSet]:
    """The images at the positions `ids`, and all others, both in the order of `data`."""
    inside = torch.zeros_like(data.labels, dtype=torch.bool)
    inside[ids] = True
    return data[inside], data[~inside]
