"""Neuron weight change and backdoor activeness (NWC; TSBD). Lin et al., NeurIPS 2024, arXiv:2405.20291.

The filters that change most while a network unlearns clean images are those that would change most if it unlearned its
backdoor. They lose their most changed weights. The gradients of a backdoored network are large, so the repair prefers
weights at which the gradient is small, and the backdoor does not come back.
"""

from copy import deepcopy
from dataclasses import replace

from torch import nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.nwc.filters import choose_ratio, convolutions, reinitialize, weight_change
from bdlib.models import accuracy
from bdlib.training.loop import Schedule, train
from bdlib.training.sam import SharpnessAware
from bdlib.training.unlearning import ascend
from bdlib.types import OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


def require_convolutions(model: nn.Module) -> None:
    """Raise ParameterError for a network without convolutions, whose filters NWC ranks."""
    if not convolutions(model):
        raise ParameterError(f"model: NWC ranks the filters of Conv2d layers, and {type(model).__name__} has none")


@checked
@needs(require_convolutions)
def nwc(
    model: nn.Module,
    clean: ImageSet,
    *,
    neuron_ratio: ranges.Fraction | None = 0.4,  # n; paper not seen, none released. None: by `choose_ratio`
    weight_ratio: ranges.Fraction = 0.7,  # m; this and all below: released code, paper not seen
    alpha: ranges.Weight = 0.7,  # the uphill gradient's share of a step
    rho: ranges.Radius = 0.05,  # r, how far uphill it is taken
    stop_accuracy: ranges.Fraction = 0.1,  # where unlearning ends: chance, for ten classes
    unlearning_rate: ranges.LearningRate = 1e-4,
    learning_rate: ranges.LearningRate = 0.01,
    epochs: ranges.CountOrZero = 20,  # of the repair
    batch_size: ranges.BatchSize = 256,
    augmentation: ranges.Augmentation = 4,
    variant: ranges.Variant = "paper",
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set.

    Example::

        repaired = nwc(victim, clean, neuron_ratio=0.4, unlearning_rate=0.001, stop_accuracy=0.2)

    With `neuron_ratio` 0 nothing is unlearned; with `alpha` 0 too, this is fine-tuning. "released" ranks filters by
    changes rounded to four decimals, and repairs for one epoch more than asked for.

    `on_event` is told "unlearning_epoch" (the model after each epoch), "unlearned" (the model), "change" (`Changes`),
    "neuron_ratio" (the share that was taken), "reinitialized" (the model before the repair) and "epoch" (of the repair,
    `bdlib.training.loop.Epoch`).

    Raises ParameterError for a keyword out of range, and what `unlearn` raises.
    """
    repair = Schedule(epochs + (variant == "released"), learning_rate, anneal="constant", batch_size=batch_size,
                      weight_decay=0.0, augmentation=augmentation, seed=seed)  # fmt: skip
    reinitialized = model
    if neuron_ratio != 0:
        unlearning = replace(repair, epochs=1000, learning_rate=unlearning_rate, seed_per_epoch=True)
        unlearned = unlearn(model, clean, unlearning, stop_accuracy=stop_accuracy, on_event=on_event)
        on_event("unlearned", unlearned)
        change = weight_change(model, unlearned)
        on_event("change", change)
        if neuron_ratio is None:
            neuron_ratio = choose_ratio(model, change, clean, weight_ratio=weight_ratio, variant=variant)
        on_event("neuron_ratio", neuron_ratio)
        reinitialized = reinitialize(
            model, change, neuron_ratio=neuron_ratio, weight_ratio=weight_ratio, variant=variant
        )
        on_event("reinitialized", reinitialized)
    return activeness_aware_fine_tune(reinitialized, clean, repair, alpha=alpha, rho=rho, on_event=on_event)


@checked
def unlearn(
    model: nn.Module, data: ImageSet, schedule: Schedule, *, stop_accuracy: ranges.Fraction, on_event: OnEvent = ignore
) -> nn.Module:
    """A copy of `model` after gradient ascent on `data`, until its accuracy there is at most `stop_accuracy`.

    Accuracy is measured after every epoch, in evaluation mode and without augmentation. `schedule.epochs` is the
    largest number of epochs. `on_event` is told "unlearning_epoch" (the model after each one).

    Raises FloatingPointError when a weight is no longer finite: such a network predicts the first class for every
    image, which would pass for chance. Raises RuntimeError when the schedule ends before the accuracy has fallen.
    """
    unlearned = deepcopy(model).requires_grad_(True)
    for step, _ in ascend(unlearned, data, schedule):
        if not step.ends_epoch:
            continue
        if not all(tensor.isfinite().all() for tensor in unlearned.state_dict().values()):
            raise FloatingPointError(f"unlearning at rate {schedule.learning_rate:g}: not finite, epoch {step.epoch}")
        on_event("unlearning_epoch", unlearned)
        if accuracy(unlearned, data) <= stop_accuracy:
            return unlearned.eval()
    raise RuntimeError(f"stop_accuracy={stop_accuracy}: not reached in {schedule.epochs} epochs of unlearning")


@checked
def activeness_aware_fine_tune(
    model: nn.Module, clean: ImageSet, schedule: Schedule, *,
    alpha: ranges.Weight, rho: ranges.Radius, on_event: OnEvent = ignore,
) -> nn.Module:  # fmt: skip
    """A copy of `model` fine-tuned by (1 - alpha) g + alpha g', where g' is the gradient `rho` uphill in every tensor.

    To first order it descends ``CE + alpha rho ||grad CE||``. With `alpha` or `rho` zero it is plain fine-tuning.
    `on_event` is told "epoch" (`bdlib.training.loop.Epoch`) after each one.
    """
    repaired = deepcopy(model).requires_grad_(True)
    optimizer = SharpnessAware(repaired, schedule.sgd(repaired.parameters()), rho=rho, per_tensor=True, mix=alpha)
    return train(repaired, clean, schedule, optimizer=optimizer, on_event=on_event)
