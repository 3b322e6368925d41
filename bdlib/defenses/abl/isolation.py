"""ABL, stage 1: find poisoned training images by their low loss. Li et al., NeurIPS 2021, arXiv:2110.11571.

A network fits triggered images sooner than clean ones. So train for a few epochs with a threshold on the loss, which
keeps the loss of clean images near it, and isolate the images of lowest loss. Most of them should be poisoned.
"""

from itertools import chain
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Generator, Tensor, nn

from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import sample_losses as sample_losses  # what `isolate` takes
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import Batch, Loss, MovedModel, OnEvent, ignore

LossThreshold = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]  # nats
ThresholdRule = Literal["lga", "flooding", "none"]
Losses = Float[Tensor, " n"]
Ids = Int[Tensor, " m"]  # positions of images in their set


def thresholded_loss(loss: Loss, *, gamma: float, threshold_rule: ThresholdRule = "lga") -> Loss:
    """The loss of a batch, with its gradient reversed below `gamma` (nats): a step then raises the loss again.

    "lga", local gradient ascent, is the paper's ``sign(L - gamma) L``. "flooding", the released code's default, is
    ``|L - gamma| + gamma``. Their gradients are equal, and zero where L is gamma. "none" returns the loss as it is.
    """
    if threshold_rule == "none":
        return loss
    return torch.sign(loss - gamma) * loss if threshold_rule == "lga" else (loss - gamma).abs() + gamma


@checked
def train_with_loss_threshold(
    model: MovedModel,
    data: ImageSet,
    schedule: Schedule,
    *,
    gamma: LossThreshold = 0.5,  # paper and released code, on CIFAR-10
    threshold_rule: ThresholdRule = "lga",
    in_order: bool = False,  # the same batches in every epoch, as in the released code; else shuffled
    on_event: OnEvent = ignore,
) -> nn.Module:
    """Train `model` in place on the poisoned `data`, with a threshold on the mean loss of each batch.

    `on_event` is told "epoch" (`bdlib.training.loop.Epoch`) after each one. Returns the model in evaluation mode.
    """
    ordered = chain.from_iterable(batches(data, schedule.batch_size) for _ in range(schedule.epochs))

    def loss_fn(network: nn.Module, shuffled: Batch) -> Loss:
        loss = cross_entropy(network, next(ordered) if in_order else shuffled)
        return thresholded_loss(loss, gamma=gamma, threshold_rule=threshold_rule)

    return train(model, data, schedule, loss_fn=loss_fn, on_event=on_event)


def isolate(losses: Losses, isolation_rate: float) -> Ids:
    """The positions of the floor(`isolation_rate` n) lowest losses, the lowest first; ties keep their order.

    Raises ParameterError when that is no image, or more than there are.
    """
    return losses.argsort(stable=True)[: _isolated_count(len(losses), isolation_rate)]


def random_ids(count: int, isolation_rate: float, *, seed: int) -> Ids:
    """As many positions out of `count` as `isolate` returns, drawn at random, on the CPU: the control."""
    return torch.randperm(count, generator=Generator().manual_seed(seed))[: _isolated_count(count, isolation_rate)]


def _isolated_count(count: int, isolation_rate: float) -> int:
    isolated = int(isolation_rate * count + 1e-9)  # rounded down, but 0.29 * 100 is 29
    if not 1 <= isolated <= count:
        raise ParameterError(f"isolation_rate={isolation_rate}: isolates {isolated} of {count} images")
    return isolated


def require_isolated(poisoned: ImageSet, isolation_rate: float) -> None:
    """Raise ParameterError for a rate at which no image is isolated, or more than there are."""
    _isolated_count(len(poisoned), isolation_rate)


@checked
def divide(data: ImageSet, ids: Ids) -> tuple[ImageSet, ImageSet]:
    """The images at the positions `ids`, and all others, both in the order of `data`."""
    inside = torch.zeros_like(data.labels, dtype=torch.bool)
    inside[ids] = True
    return data[inside], data[~inside]
