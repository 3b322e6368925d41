"""Fine-tuning: train on, on a few clean images. It is the baseline that every repair must beat.

The schedule is that of NAD's released code, where fine-tuning makes the teacher and is the control: a few epochs at a
large rate, then the rest at a tenth of it. How much of a backdoor is left depends on this rate above all. So that no
method is compared with a weak one, the rate can be chosen by a rule that looks at clean images alone: the highest that
the clean accuracy bears.
"""

from collections.abc import Callable
from copy import deepcopy

from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, require_images, split
from bdlib.models import accuracy
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import LossFn, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
RATES = (0.3, 0.1, 0.03, 0.01)  # tried from the highest; papers and benchmarks fine-tune at 0.1 or 0.01
HELD_OUT = 0.2  # share of the clean images on which a rate is judged
ALLOWED_DROP = 0.1  # of accuracy on them; ten points is what the book's records warn of


@checked
def fine_tune(
    model: nn.Module,
    clean: ImageSet,
    *,
    epochs: ranges.CountOrZero = 10,
    learning_rate: ranges.LearningRate | None = 0.1,  # NAD's released code; None: see `highest_rate`
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
    (`bdlib.training.loop.Epoch`) after each one and, where the learning rate is None, "chosen": a mapping with
    `chosen_learning_rate` and the `held_out_accuracy` of that trial. Raises ParameterError for a keyword out of range,
    and where no image is left to train on beside those that are held out.
    """

    def tuned(data: ImageSet, rate: float, tell: OnEvent = ignore) -> nn.Module:
        schedule = Schedule(epochs, rate, anneal="constant", milestones=(milestone,), batch_size=batch_size,
                            nesterov=True, weight_decay=1e-4, augmentation=augmentation, seed=seed)  # fmt: skip
        return train(deepcopy(model).requires_grad_(True), data, schedule, loss_fn=loss_fn, on_event=tell)

    if learning_rate is None:
        learning_rate, held_out = highest_rate(model, clean, tuned, seed=seed)
        on_event("chosen", {"chosen_learning_rate": learning_rate, "held_out_accuracy": held_out})
    return tuned(clean, learning_rate, on_event)


def highest_rate(
    model: nn.Module, clean: ImageSet, tuned: Callable[[ImageSet, float], nn.Module], *, seed: int
) -> tuple[float, float]:
    """The highest of `RATES` that the clean accuracy bears, or the lowest of them; and the accuracy that it leaves.

    A fifth of every class of `clean` is held out. `tuned(data, rate)` fine-tunes on the rest, by the whole schedule. A
    rate is borne when the accuracy on the held-out images is at most `ALLOWED_DROP` below the victim's. The rule sees
    clean images only, nothing of the attack. Its trainings are a part of the defense's work.
    """
    held_out, rest = split(clean, HELD_OUT, seed=seed)
    require_images(rest, "clean")
    lowest_accuracy = accuracy(model, held_out) - ALLOWED_DROP
    for rate in RATES:
        try:
            reached = accuracy(tuned(rest, rate), held_out)
        except FloatingPointError:  # the loss is not finite
            reached = 0.0
        if reached >= lowest_accuracy:
            break
    return rate, reached
