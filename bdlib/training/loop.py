"""The one training loop, and it is open: a method stops it with `break`, and looks or acts with a line of its own.

Example::

    for batch, step in steps(model, data, schedule):
        step(lambda: cross_entropy(model, batch))
        if step.ends_epoch and good_enough(model):
            break

What differs between methods is the loss, and the optimizer, that they hand it. `train` is this loop for a method that
needs nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import cos, isfinite, nan, pi
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from bdlib import ranges
from bdlib.checks import CheckedFields, checked
from bdlib.data.images import ImageSet, batches
from bdlib.runtime import computes_in_half
from bdlib.training.demands import require_batches, trainable
from bdlib.types import Batch, Loss, LossFn, MovedModel, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes what is trained


@dataclass(frozen=True)
class Schedule(CheckedFields):
    """Stochastic gradient descent: how long, how fast, and on what augmentation.

    Raises ParameterError for a value out of its range. Example: `Schedule(10, 0.1, anneal="one_cycle", seed=1)`
    """

    epochs: Annotated[int, Field(ge=0, le=100_000)]
    learning_rate: ranges.LearningRate  # the highest one
    anneal: Literal["constant", "cosine", "one_cycle"] = "cosine"
    milestones: Sequence[Annotated[int, Field(ge=0)]] = ()  # epochs from which the rate is a tenth of what it was
    batch_size: Annotated[int, Field(ge=1)] = 128
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 5e-4
    augmentation: ranges.Augmentation = 4  # largest shift of the random crop, in pixels, with mirroring; or None
    seed: ranges.DerivedSeed = 0  # of the shuffles and the augmentation
    seed_per_epoch: bool = False  # a generator of its own for each epoch, seeded `seed * epochs + epoch`

    def sgd(self, parameters: Iterable[Tensor]) -> SGD:
        """The optimizer, at the highest learning rate."""
        tensors = trainable(parameters)
        return SGD(tensors, self.learning_rate, momentum=self.momentum, nesterov=self.nesterov,
                   weight_decay=self.weight_decay, fused=tensors[0].is_cuda or None)  # fmt: skip

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The share of the highest learning rate that this step takes, in [0, 1]."""
        progress = step / (steps_per_epoch * self.epochs)
        dropped = 0.1 ** sum(step // steps_per_epoch >= epoch for epoch in self.milestones)
        if self.anneal == "cosine":
            return dropped * (1 + cos(pi * progress)) / 2
        if self.anneal == "one_cycle":
            warm = 0.3
            rising = progress < warm
            return dropped * (progress / warm if rising else (1 - progress) / (1 - warm))
        return dropped


@dataclass
class Step:
    """One turn of the loop. Called with a function that computes the loss, it takes the optimizer's step."""

    optimizer: Optimizer
    epoch: int  # counted from 0
    number: int  # over all epochs, counted from 0
    ends_epoch: bool
    half_precision: bool
    total: Tensor  # sum of the epoch's losses so far
    steps_per_epoch: int
    mean_loss: float = nan  # of the whole epoch, once its last step is taken

    def __call__(self, compute_loss: Callable[[], Loss], *, before_update: Callable[[], None] | None = None) -> Loss:
        """Compute the loss and its gradients, and update the weights. Returns the loss, without gradient.

        The loss is computed inside a closure, which an optimizer may call twice, as SAM does. `before_update` may
        change the gradients. Raises FloatingPointError at the end of an epoch whose mean loss is not finite.
        """

        def closure() -> Loss:
            self.optimizer.zero_grad()
            with torch.autocast(self.total.device.type, torch.bfloat16, enabled=self.half_precision):
                loss = compute_loss()
            loss.backward()
            if before_update:
                before_update()
            return loss

        loss = self.optimizer.step(closure).detach()  # type: ignore[arg-type, attr-defined]
        self.total += loss
        if self.ends_epoch:
            self.mean_loss = self.total.item() / self.steps_per_epoch
            if not isfinite(self.mean_loss):
                raise FloatingPointError(f"the loss is {self.mean_loss} after epoch {self.epoch}")
        return loss


@checked
def steps(
    model: MovedModel, data: ImageSet, schedule: Schedule, optimizer: Optimizer | None = None
) -> Iterator[tuple[Batch, Step]]:
    """Every batch of every epoch, and the step to be taken on it; `model` is in training mode at each epoch's start.

    The model is moved to the data's device, and left in evaluation mode when the loop ends, also by `break`. Without
    an `optimizer` it is SGD on all parameters. Losses are computed in bfloat16 where `computes_in_half` says so.

    Raises ParameterError when `data` is empty, and for a network that does not fit it.
    """
    device = data.labels.device
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    require_batches(model, data, schedule.batch_size)
    optimizer = optimizer or schedule.sgd(model.parameters())
    highest = [group["lr"] for group in optimizer.param_groups]
    generator = Generator().manual_seed(schedule.seed)
    half = computes_in_half(device)
    per_epoch, number = -(-len(data) // schedule.batch_size), 0
    try:
        for epoch in range(schedule.epochs):
            if schedule.seed_per_epoch:
                generator = Generator().manual_seed(schedule.seed * schedule.epochs + epoch)
            model.train()
            total = torch.zeros((), device=device)
            for batch in batches(data, schedule.batch_size, augmentation=schedule.augmentation, generator=generator):
                for group, rate in zip(optimizer.param_groups, highest, strict=True):
                    group["lr"] = rate * schedule.rate(number, per_epoch)
                ends_epoch = (number + 1) % per_epoch == 0
                yield batch, Step(optimizer, epoch, number, ends_epoch, half, total, per_epoch)
                number += 1
    finally:
        model.eval()


def cross_entropy(model: nn.Module, batch: Batch) -> Loss:
    """Mean cross-entropy of the batch, the plain objective."""
    return F.cross_entropy(model(batch.images), batch.labels)


class Epoch(NamedTuple):
    """What `train` tells `on_event` as "epoch" at the end of each one."""

    number: int  # counted from 0
    mean_loss: float
    model: nn.Module  # as it now is; it will be trained further


@checked
def train(
    model: MovedModel,
    data: ImageSet,
    schedule: Schedule,
    *,
    loss_fn: LossFn = cross_entropy,
    optimizer: Optimizer | None = None,
    on_event: OnEvent = ignore,
    compiled: bool = False,
) -> nn.Module:
    """Train `model` in place on `data`, and return it in evaluation mode.

    `loss_fn(model, batch)` returns the scalar to minimize. `optimizer` defaults to SGD on all parameters; pass
    another to train only some of them, or to step differently. `on_event("epoch", Epoch(...))` is called after each
    epoch. `compiled` hands `loss_fn` the model through torch.compile, which pays on long GPU runs without layer taps.

    Raises ParameterError for a network that does not fit the images and their labels, or has no weights to train;
    FloatingPointError after the first epoch whose mean loss is not finite.
    """
    turns = steps(model, data, schedule, optimizer)
    forward = torch.compile(model) if compiled else model
    for batch, step in turns:
        step(lambda: loss_fn(forward, batch))  # type: ignore[arg-type]
        if step.ends_epoch:
            on_event("epoch", Epoch(step.epoch, step.mean_loss, model))
    return model.eval()
