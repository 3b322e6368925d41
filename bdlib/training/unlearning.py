"""Unlearning: ascent_loss the loss on some images until the network no longer knows them.

What moves on the way tells where that knowledge lies. Clean images are the defender's to unlearn; poisoned ones only
someone's who holds the trigger.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from torch import nn

from bdlib.data.images import ImageSet
from bdlib.models import predict, share
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import Batch, Loss

OnEpoch = Callable[[int, nn.Module], None]  # called after each epoch with its number and the model as it then is


def unlearn(
    model: nn.Module, data: ImageSet, schedule: Schedule, *, stop_accuracy: float, on_epoch: OnEpoch | None = None
) -> nn.Module:
    """A copy of `model` that climbs the cross-entropy until its accuracy on `data` is `stop_accuracy` or less.

    Accuracy is looked at after every epoch, in evaluation mode and without augmentation; `schedule.epochs` is the most
    that are tried, at a constant rate. BatchNorm's running statistics move too.

    Raises FloatingPointError when a weight is no longer finite (such a network gives every image the first class, and
    would pass for one at chance), RuntimeError when the schedule ends before the accuracy has fallen.
    """
    unlearned = deepcopy(model).requires_grad_(True)
    optimizer = schedule.sgd(unlearned.parameters())
    for epoch in range(schedule.epochs):
        once = replace(schedule, epochs=1, seed=schedule.seed * schedule.epochs + epoch)  # other shuffles every epoch
        train(unlearned, data, once, loss_fn=ascent_loss, optimizer=optimizer)
        if not all(tensor.isfinite().all() for tensor in unlearned.state_dict().values()):
            raise FloatingPointError(f"unlearning at rate {schedule.learning_rate:g}: not finite after epoch {epoch}")
        if on_epoch:
            on_epoch(epoch, unlearned)
        if share(predict(unlearned, data) == data.labels) <= stop_accuracy:
            return unlearned
    raise RuntimeError(f"stop_accuracy={stop_accuracy}: not reached in {schedule.epochs} epochs of unlearning")


def ascent_loss(model: nn.Module, batch: Batch) -> Loss:
    """The loss to minimise in order to ascent_loss: minus the cross-entropy."""
    return -cross_entropy(model, batch)
