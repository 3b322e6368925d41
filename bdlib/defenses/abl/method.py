"""Anti-backdoor learning (ABL). Li et al., NeurIPS 2021, arXiv:2110.11571.

A network trained on poisoned data fits the triggered images first. For a few epochs, a threshold on the loss holds the
clean images back, so that the images of lowest loss can be isolated as poison. Training on the rest teaches the task,
and the backdoor too. Gradient ascent on the few isolated images then cuts the trigger from its target.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.abl.isolation import (
    Losses,
    LossThreshold,
    ThresholdRule,
    divide,
    isolate,
    random_ids,
    require_isolated,
    sample_losses,
    train_with_loss_threshold,
)
from bdlib.models import accuracy
from bdlib.training.loop import Schedule, train
from bdlib.training.unlearning import ascend
from bdlib.types import MakeModel, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


@checked
@needs(require_isolated)
def abl(
    make_model: MakeModel,
    poisoned: ImageSet,
    *,
    gamma: LossThreshold = 0.5,  # the loss threshold, in nats; paper and released code
    threshold_rule: ThresholdRule = "lga",  # paper; "flooding", which has the same gradient, in the released code
    isolation_rate: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = 0.01,  # paper and released code
    isolation: Literal["loss", "random"] = "loss",  # "random" is a control: as many images, whatever their loss
    isolation_epochs: ranges.Count = 20,  # paper; 10 in the released code
    epochs: ranges.CountOrZero = 60,  # of training on the rest; paper not seen, released code, as all below
    milestone: ranges.CountOrZero = 40,  # the epoch of it from which the rate is a tenth; released code: 0.01
    learning_rate: ranges.LearningRate = 0.1,
    batch_size: ranges.BatchSize = 128,
    unlearning_epochs: ranges.CountOrZero = 5,
    unlearning_rate: ranges.LearningRate = 5e-4,
    unlearning_batch_size: ranges.BatchSize = 128,
    stop_accuracy: ranges.Fraction = 0.0,  # on the isolated images, below which the ascent ends; 0: it never does
    augmentation: ranges.Augmentation = 4,  # in the training on the rest alone
    variant: ranges.Variant = "paper",
    on_event: OnEvent = ignore,
    seed: ranges.Seed = 0,
) -> nn.Module:
    """A network trained on the `poisoned` images alone, in evaluation mode.

    Example::

        defended = abl(make_model, poisoned, gamma=0.2, epochs=6, milestone=4)

    "released": stage 1 does not shuffle; the ascent keeps the momentum of the training before it, its first epoch does
    nothing, and it never stops early.

    `on_event` is told "losses" (of all images, a list with one tensor for each epoch of stage 1), "isolated" (their
    positions), "trained" (the model before the ascent), "ascent_epoch" (the model after each epoch of ascent) and
    "ascent" (the accuracy on the isolated images after each of these, a list).

    Raises ParameterError for a keyword out of range, and when no image would be isolated.
    """
    released, losses = variant == "released", list[Losses]()
    first = Schedule(isolation_epochs, learning_rate, anneal="constant", batch_size=batch_size, nesterov=True,
                     weight_decay=1e-4, augmentation=None, seed=seed)  # fmt: skip
    second = replace(first, epochs=epochs, milestones=(milestone,), augmentation=augmentation, seed=seed + 1)
    ascent = replace(first, epochs=max(0, unlearning_epochs - released), learning_rate=unlearning_rate,
                     batch_size=unlearning_batch_size, seed_per_epoch=True)  # fmt: skip
    model = train_with_loss_threshold(
        make_model(), poisoned, first, gamma=gamma, threshold_rule=threshold_rule, in_order=released,
        on_event=lambda _, epoch: losses.append(sample_losses(epoch.model, poisoned)),
    )  # fmt: skip
    on_event("losses", losses)
    ids = isolate(losses[-1], isolation_rate)
    if isolation == "random":
        ids = random_ids(len(poisoned), isolation_rate, seed=seed).to(ids.device)
    on_event("isolated", ids)
    isolated, rest = divide(poisoned, ids)
    optimizer = second.sgd(model.parameters())
    on_event("trained", train(model, rest, second, optimizer=optimizer))
    return unlearn_isolated(model, isolated, ascent, stop_accuracy=0.0 if released else stop_accuracy,
                            momentum_of=optimizer if released else None, on_event=on_event)  # fmt: skip


@checked
def unlearn_isolated(
    model: nn.Module,
    isolated: ImageSet,
    schedule: Schedule,
    *,
    stop_accuracy: ranges.Fraction = 0.0,
    momentum_of: Optimizer | None = None,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A copy of `model` after gradient ascent on the `isolated` images, for at most the epochs of `schedule`.

    It stops after the first epoch that leaves its accuracy on them below `stop_accuracy`. It starts with the momentum
    of `momentum_of`, the optimizer of the training before, if given. `on_event` is told "ascent_epoch" and "ascent".
    """
    unlearned, accuracies = deepcopy(model).requires_grad_(True), list[float]()
    optimizer = schedule.sgd(unlearned.parameters())
    if momentum_of:
        optimizer.load_state_dict(deepcopy(momentum_of.state_dict()))
        optimizer.param_groups[0]["lr"] = schedule.learning_rate
    for step, _ in ascend(unlearned, isolated, schedule, optimizer):
        if step.ends_epoch:
            on_event("ascent_epoch", unlearned)
            accuracies.append(accuracy(unlearned, isolated))
            if accuracies[-1] < stop_accuracy:
                break
    on_event("ascent", accuracies)
    return unlearned.eval()
