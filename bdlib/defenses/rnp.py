"""Reconstructive neuron pruning (RNP). Li et al., ICML 2023, arXiv:2305.14876.

Gradient ascent on clean images makes a copy of the network forget its task, while the trigger's path survives. Then a
mask on every filter is trained to recover the task, which lowers the masks of the trigger's filters. Filters with low
masks are pruned from the original network.
"""

from copy import deepcopy
from dataclasses import replace

from torch import nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.models import accuracy
from bdlib.training.filter_masks import Masked, PerFilter, choose_threshold, prune, require_batch_norm
from bdlib.training.loop import Schedule, cross_entropy, steps
from bdlib.training.unlearning import ascend
from bdlib.types import OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


@checked
@needs(require_batch_norm)
def rnp(
    model: nn.Module,
    clean: ImageSet,
    *,
    stop_accuracy: ranges.Fraction = 0.2,  # CA_min; defaults are the released code's, as the paper's were not seen
    unlearning_rate: ranges.LearningRate = 0.01,
    unlearning_epochs: ranges.CountOrZero = 21,  # at most
    alpha: ranges.Weight = 0.2,  # of the recovery's loss
    recovery_rate: ranges.LearningRate = 0.2,
    recovery_epochs: ranges.CountOrZero = 20,
    allowed_drop: ranges.Fraction = 0.05,  # of accuracy on `clean`; ours: half of what backdoor-toolbox's sweep allows
    batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    variant: ranges.Variant = "paper",  # released: unlearning stops differently, see `unlearn`
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A pruned copy of `model`; `clean` is the defender's small trusted set. Nothing is trained after pruning.

    Example::

        pruned = rnp(victim, clean, alpha=0.027, unlearning_rate=0.003)

    `on_event` is told "unlearning_step" (the model after each step), "unlearned" (the model), "recovery_step" (the
    `Masked` model after each step), "masks" (by BatchNorm layer) and "threshold".

    Raises ParameterError for a keyword out of range, and for a network without BatchNorm2d layers.
    """
    unlearning = Schedule(
        unlearning_epochs, unlearning_rate, "constant", batch_size=batch_size, augmentation=augmentation, seed=seed
    )
    recovery = replace(unlearning, epochs=recovery_epochs, learning_rate=recovery_rate, weight_decay=0.0)
    unlearned = unlearn(model, clean, unlearning, stop_accuracy=stop_accuracy, variant=variant, on_event=on_event)
    on_event("unlearned", unlearned)
    masks = recover_masks(unlearned, clean, recovery, alpha=alpha, on_event=on_event)
    on_event("masks", masks)
    threshold = choose_threshold(model, masks, clean, allowed_drop=allowed_drop)
    on_event("threshold", threshold)
    return prune(model, masks, threshold)


@checked
def unlearn(
    model: nn.Module,
    clean: ImageSet,
    schedule: Schedule,
    *,
    stop_accuracy: ranges.Fraction,
    variant: ranges.Variant = "paper",
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A copy of `model` after gradient ascent on all weights, until accuracy on `clean` is at most `stop_accuracy`.

    "paper" measures the accuracy after each step. "released" measures it after each epoch, in training mode, and cuts
    the rate tenfold at epochs 10 and 20.
    """
    if variant == "released":
        schedule = replace(schedule, milestones=(10, 20))
    unlearned = deepcopy(model).requires_grad_(True)
    for step, training_accuracy in ascend(unlearned, clean, schedule):
        on_event("unlearning_step", unlearned)
        if variant == "paper" and accuracy(unlearned, clean) <= stop_accuracy:
            break
        if variant == "released" and step.ends_epoch and training_accuracy <= stop_accuracy:
            break
    return unlearned.eval()


@checked
def recover_masks(
    unlearned: nn.Module, clean: ImageSet, schedule: Schedule, *, alpha: ranges.Weight, on_event: OnEvent = ignore
) -> dict[str, PerFilter]:
    """Masks in [0, 1], by BatchNorm layer, that make `unlearned` fit `clean` again; only they are trained, from one."""
    masked = Masked(deepcopy(unlearned))
    for batch, step in steps(masked, clean, schedule, schedule.sgd(masked.masks)):
        step(lambda: alpha * cross_entropy(masked, batch))
        masked.clip()
        on_event("recovery_step", masked)
    return masked.values()
