"""Anti-backdoor learning (ABL). Li et al., NeurIPS 2021, arXiv:2110.11571.

A network trained on poisoned data fits the triggered images first. A threshold_rule under the loss keeps the honest ones behind
for a few epochs, so that the images of lowest loss can be isolated as poison. Training on the rest teaches the classes,
and the backdoor too; climbing the loss on the few isolated images then cuts the trigger from its target.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from bdlib.data.images import ImageSet
from bdlib.defenses.abl.isolation import (
    Losses,
    ThresholdRule,
    draw,
    isolate,
    parted,
    sample_losses,
    train_with_loss_threshold,
)
from bdlib.models import predict, share
from bdlib.training.loop import Schedule, train
from bdlib.training.unlearning import ascent_loss
from bdlib.types import MakeModel, OnEvent, ignore


def abl(
    make_model: MakeModel,
    poisoned: ImageSet,
    *,
    gamma: float = 0.5,  # the threshold_rule; paper and released code
    threshold_rule: ThresholdRule = "lga",  # paper; "flooding", which has the same gradient, in the released code
    isolation_rate: float = 0.01,  # paper and released code
    isolation: Literal["loss", "random"] = "loss",  # "random" is a control: as many images, whatever their loss
    isolation_epochs: int = 20,  # paper; 10 in the released code
    epochs: int = 60,  # of training on the rest; paper not seen, released code, as all below
    milestone: int = 40,  # from this epoch of it on, the rate is a tenth
    learning_rate: float = 0.1,
    batch_size: int = 128,
    unlearning_epochs: int = 5,
    unlearning_rate: float = 5e-4,
    unlearning_batch_size: int = 128,
    stop_accuracy: float = 0.0,  # the ascent ends below this accuracy on the isolated images; 0: it never does
    augmentation: int | None = 4,  # pixels of random crop, in the training on the rest alone
    variant: Literal["paper", "released"] = "paper",
    on_event: OnEvent = ignore,
    seed: int = 0,
) -> nn.Module:
    """A network trained on the `poisoned` images alone, in evaluation mode.

    "released": stage 1 does not shuffle; the ascent starts with the momentum of the training before it, its first
    round does nothing, and it never stops early. `on_event` is shown "losses" (of all images, after each epoch of stage
    1), "isolated" (their positions), "trained" (the model before the ascent) and "ascent" (accuracy on the isolated
    images after each epoch). Raises ValueError when no image would be isolated.
    """
    released, losses, accuracies = variant == "released", list[Losses](), list[float]()
    first = Schedule(isolation_epochs, learning_rate, anneal="constant", batch_size=batch_size, nesterov=True,
                     weight_decay=1e-4, augmentation=None, seed=seed)  # fmt: skip
    second = replace(
        first, epochs=epochs, milestones=(milestone,), augmentation=augmentation, seed=seed + 1
    )  # shuffles of its own
    third = replace(first, epochs=unlearning_epochs - released, learning_rate=unlearning_rate,
                    batch_size=unlearning_batch_size)  # fmt: skip
    model = train_with_loss_threshold(make_model(), poisoned, first, gamma=gamma, threshold_rule=threshold_rule, in_order=released,
                             on_epoch=lambda _, network: losses.append(sample_losses(network, poisoned)))  # fmt: skip
    on_event("losses", losses)
    by_loss, by_chance = isolate(losses[-1], isolation_rate), draw(len(poisoned), isolation_rate, seed=seed)
    ids = by_loss if isolation == "loss" else by_chance.to(by_loss.device)
    on_event("isolated", ids)
    isolated, rest = parted(poisoned, ids)
    optimizer = second.sgd(model.parameters())
    on_event("trained", train(model, rest, second, optimizer=optimizer))
    on_event("ascent", accuracies)
    return unlearn_isolated(model, isolated, third, stop_accuracy=0.0 if released else stop_accuracy,
                            after=optimizer if released else None,
                            on_epoch=lambda _, network: accuracies.append(accuracy(network, isolated)))  # fmt: skip


def unlearn_isolated(
    model: nn.Module, isolated: ImageSet, schedule: Schedule, *, stop_accuracy: float = 0.0,
    after: Optimizer | None = None, on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> nn.Module:  # fmt: skip
    """A copy of `model` that climbs the loss on the `isolated` images: no longer than `schedule`, without augmentation.

    It stops after the first epoch that leaves its accuracy on them below `stop_accuracy`. The momentum of `after`, the
    optimiser of the training before, is gone on with where it is given. BatchNorm's running statistics move too.
    """
    unlearned = deepcopy(model).requires_grad_(True)
    optimizer = schedule.sgd(unlearned.parameters())
    if after:
        optimizer.load_state_dict(deepcopy(after.state_dict()))
        optimizer.param_groups[0]["lr"] = schedule.learning_rate
    for epoch in range(schedule.epochs):
        once = replace(schedule, epochs=1, seed=schedule.seed * schedule.epochs + epoch)  # other shuffles every epoch
        train(unlearned, isolated, once, loss_fn=ascent_loss, optimizer=optimizer)
        if on_epoch:
            on_epoch(epoch, unlearned)
        if accuracy(unlearned, isolated) < stop_accuracy:
            break
    return unlearned


def accuracy(model: nn.Module, data: ImageSet) -> float:
    return share(predict(model, data) == data.labels)
