"""Fine-tuning: train on, on a few clean images. It is the baseline that every repair must beat.

The schedule is that of NAD's released code, where fine-tuning makes the teacher and is the control: a few epochs at a
large rate, then the rest at a tenth of it.
"""

from copy import deepcopy

from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import LossFn, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


@checked
def fine_tune(
    model: nn.Module,
    clean: ImageSet,
    *,
    epochs: ranges.CountOrZero = 10,
    learning_rate: ranges.LearningRate = 0.1,  # NAD's released code
    milestone: ranges.CountOrZero = 2,  # the rate is a tenth from this epoch on; NAD's released code: 0.01
    batch_size: ranges.BatchSize = 64,  # NAD's released code
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
    loss_fn: LossFn = cross_entropy,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A fine-tuned copy of `model`, all layers trained; `clean` is the defender's small trusted set.

    Example::

        repaired = fine_tune(victim, clean, epochs=5, learning_rate=0.05)

    `loss_fn(model, batch)` lets a repair add its own terms to the same schedule. `on_event` is told "epoch"
    (`bdlib.training.loop.Epoch`) after each one. Raises ParameterError for a keyword out of range.
    """
    schedule = Schedule(epochs, learning_rate, anneal="constant", milestones=(milestone,), batch_size=batch_size,
                        nesterov=True, weight_decay=1e-4, augmentation=augmentation, seed=seed)  # fmt: skip
    return train(deepcopy(model).requires_grad_(True), clean, schedule, loss_fn=loss_fn, on_event=on_event)
