"""The one training loop. What differs between methods is the loss, and the optimiser, that they hand it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, isfinite, pi
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from bdlib.data.images import ImageSet, batches
from bdlib.types import Batch, Loss, LossFn


@dataclass(frozen=True)
class Schedule:
    """Stochastic gradient descent: how long, how fast, and on what augmentation."""

    epochs: int
    learning_rate: float  # the highest one
    anneal: Literal["constant", "cosine", "one_cycle"] = "cosine"
    milestones: tuple[int, ...] = ()  # epochs from which the rate is a tenth of what it was
    batch_size: int = 128
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    augmentation: int | None = 4  # pixels of random crop, with mirroring; None for no augmentation
    seed: int = 0  # of the shuffles and the augmentation

    def sgd(self, parameters: Iterable[Tensor]) -> SGD:
        """The optimiser, at the highest learning rate."""
        tensors = list(parameters)
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


def cross_entropy(model: nn.Module, batch: Batch) -> Loss:
    """Mean cross-entropy of the batch, the plain objective."""
    return F.cross_entropy(model(batch.images), batch.labels)


def train(
    model: nn.Module,
    data: ImageSet,
    schedule: Schedule,
    *,
    loss_fn: LossFn = cross_entropy,
    optimizer: Optimizer | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    compiled: bool = False,
) -> nn.Module:
    """Train `model` in place on `data`, and return it in evaluation mode.

    `loss_fn(model, batch)` returns the scalar to minimise. `optimizer` defaults to SGD on all parameters; pass
    another to train only some of them, or to step differently (it is given a closure, as SAM needs).
    `on_epoch(epoch, mean_loss)` is called after each epoch. On a GPU that has bfloat16 the forward pass runs in it;
    `compiled` hands `loss_fn` the model through torch.compile, which pays on long GPU runs without layer taps.

    Raises FloatingPointError after the first epoch whose mean loss is not finite.
    """
    device = data.labels.device
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer or schedule.sgd(model.parameters())
    highest = [group["lr"] for group in optimizer.param_groups]
    generator = Generator().manual_seed(schedule.seed)
    forward = torch.compile(model) if compiled else model
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    steps_per_epoch, step = -(-len(data) // schedule.batch_size), 0

    for epoch in range(schedule.epochs):
        model.train()
        total = torch.zeros((), device=device)
        for batch in batches(data, schedule.batch_size, augmentation=schedule.augmentation, generator=generator):
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = rate * schedule.rate(step, steps_per_epoch)

            def closure(batch: Batch = batch) -> Loss:
                optimizer.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    loss = loss_fn(forward, batch)  # type: ignore[arg-type]
                loss.backward()
                return loss

            total += optimizer.step(closure).detach()  # type: ignore[arg-type, attr-defined]
            step += 1
        mean_loss = total.item() / steps_per_epoch
        if not isfinite(mean_loss):
            raise FloatingPointError(f"the loss is {mean_loss} after epoch {epoch}")
        if on_epoch:
            on_epoch(epoch, mean_loss)
    return model.eval()
