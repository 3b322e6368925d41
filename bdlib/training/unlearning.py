"""Unlearning by gradient ascent: raise the loss on some images until the network no longer classifies them.

RNP and NWC unlearn clean images, to see which filters the task needs. ABL unlearns images that it suspects of poison.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule, Step, steps
from bdlib.types import Loss


def ascend(
    model: nn.Module, data: ImageSet, schedule: Schedule, optimizer: Optimizer | None = None
) -> Iterator[tuple[Step, float]]:
    """Raise the cross-entropy of `model` on `data`, in place, one step of gradient ascent a turn; `break` ends it.

    Example::

        for step, training_accuracy in ascend(unlearned, clean, schedule):
            if step.ends_epoch and training_accuracy <= 0.2:
                break

    `training_accuracy` is the share of the epoch's images so far that the model classified correctly, each just before
    the step on its batch, in training mode. BatchNorm's running statistics move too. Arguments are those of `steps`.

    Raises FloatingPointError at the end of an epoch whose mean loss is not finite.
    """
    correct = total = 0
    for batch, step in steps(model, data, schedule, optimizer):

        def loss() -> Loss:
            nonlocal correct
            logits = model(batch.images)
            correct += int((logits.argmax(1) == batch.labels).sum())
            return -F.cross_entropy(logits, batch.labels)

        step(loss)
        total += len(batch.labels)
        yield step, correct / total
        if step.ends_epoch:
            correct = total = 0
