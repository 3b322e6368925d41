"""Fine-tuning: train on, on a few clean images. The baseline that every repair must beat.

The schedule is that of NAD's released code, where fine-tuning makes the teacher and is the control: a large rate
that shakes the weights, then a tenth of it to settle.
"""

from copy import deepcopy

from torch import nn

from bdlib.data.images import ImageSet
from bdlib.training.loop import LossFn, Schedule, cross_entropy, train


def fine_tune(
    model: nn.Module,
    clean: ImageSet,
    *,
    epochs: int = 10,
    learning_rate: float = 0.1,  # NAD's released code
    milestone: int = 2,  # the rate is a tenth from this epoch on; NAD's released code
    batch_size: int = 64,  # NAD's released code
    augmentation: int | None = 4,  # pixels of random crop, with mirroring; None for no augmentation
    seed: int = 0,
    loss_fn: LossFn = cross_entropy,
) -> nn.Module:
    """A fine-tuned copy of `model`, all layers trained; `clean` is the defender's small trusted set.

    `loss_fn` lets a repair add its own terms to the same schedule; alone, it is the cross-entropy.
    """
    schedule = Schedule(epochs, learning_rate, anneal="constant", milestones=(milestone,), batch_size=batch_size,
                        nesterov=True, weight_decay=1e-4, augmentation=augmentation, seed=seed)  # fmt: skip
    return train(deepcopy(model).requires_grad_(True), clean, schedule, loss_fn=loss_fn)
