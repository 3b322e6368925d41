"""Neural polarizer defense (NPD). Zhu et al., NeurIPS 2023, arXiv:2306.16697.

A triggered image still has the features of its true class, but those of the trigger dominate. One linear layer,
inserted into the frozen network, lets the first pass and holds the second back. The trigger is unknown. So the layer is
trained against small attacks on the network as defended so far; each aims at the class that is most likely beside the
image's own.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from math import inf
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.npd.polarizer import Polarized, filtered_layer, insert
from bdlib.defenses.npd.targeted_pgd import second_most_likely_class, targeted_pgd
from bdlib.training.loop import Schedule, train
from bdlib.types import Batch, Images, Labels, Logits, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers
LossWeights = Annotated[
    Sequence[Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]], Field(min_length=4, max_length=4)
]
SmallAttack = Callable[[nn.Module, Images, Labels], Images]  # a network, images, and the classes that it aims at

# What hides the true class in the search for the next one. The released value, of the authors' MindSpore port, is
# almost zero, which hides it only where another logit is positive; their PyTorch code writes -10.
MASKS = {"paper": -inf, "released": -1e-10}


@checked
@needs(filtered_layer)
def npd(
    model: nn.Module,
    clean: ImageSet,
    *,
    layer: str | None = None,  # whose input is filtered; None: the network's own, layer4.1.conv1 in PreAct-ResNet18
    loss_weights: LossWeights = (1.0, 0.4, 0.4, 0.4),  # lambda 1 to 4; this, above and below: released code, CIFAR-10
    radius: ranges.Radius = 3.0,  # L2, of 3 x 32 x 32 pixels in [0, 1]
    step_size: ranges.PositiveFraction = 0.1,  # of a sign step, each pixel
    inner_steps: ranges.Count = 2,
    warm_up_epochs: ranges.CountOrZero = 5,
    epochs: ranges.CountOrZero = 50,
    learning_rate: ranges.LearningRate = 0.01,  # constant
    batch_size: ranges.BatchSize = 128,
    variant: ranges.Variant = "paper",
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> Polarized:
    """A frozen copy of `model` with a learned polarizer in front of `layer`; `clean` is the small trusted set.

    Example::

        defended = npd(victim, clean, layer="layer3.0.conv1", radius=1.5, epochs=20)

    `variant="released"`: see `polarize`. `on_event` is told "inserted" (the network with a polarizer that does nothing
    yet), "warmed_up" (the same after warm-up), "attack" (the small attack of the training: a function of a network,
    images and targets) and "epoch" (`bdlib.training.loop.Epoch`) after each epoch of the polarizer. Raises what
    `insert` raises, and ParameterError for a keyword out of range.
    """
    inserted = insert(model, clean, layer=layer)
    on_event("inserted", inserted)
    warm = warm_up(inserted, clean, epochs=warm_up_epochs, batch_size=batch_size, seed=seed)
    on_event("warmed_up", warm)
    attack = partial(targeted_pgd, radius=radius, step_size=step_size, inner_steps=inner_steps)
    on_event("attack", attack)
    schedule = Schedule(epochs, learning_rate, anneal="constant", batch_size=batch_size, augmentation=None, seed=seed)
    return polarize(warm, clean, schedule, attack, loss_weights=loss_weights, variant=variant, on_event=on_event)


@checked
def warm_up(
    start: Polarized, clean: ImageSet, *, epochs: ranges.CountOrZero, batch_size: ranges.BatchSize, seed: ranges.Seed
) -> Polarized:
    """A copy of `start` whose BatchNorm has taken on the statistics of `clean`: the cross-entropy at a tiny rate."""
    warm = deepcopy(start)
    schedule = Schedule(epochs, 1e-4, anneal="constant", batch_size=batch_size, momentum=0, weight_decay=0,
                        augmentation=None, seed=seed)  # plain SGD; the rate is the released code's  # fmt: skip
    warm.warming_up = True
    train(warm, clean, schedule, optimizer=schedule.sgd(warm.polarizer.parameters()))
    warm.warming_up = False
    return warm


@checked
def polarize(
    start: Polarized, clean: ImageSet, schedule: Schedule, attack: SmallAttack, *,
    loss_weights: LossWeights, variant: ranges.Variant = "paper", on_event: OnEvent = ignore,
) -> Polarized:  # fmt: skip
    """A copy of `start` whose polarizer has learned to withstand `attack`, made anew on every batch.

    `variant="released"`: the MindSpore port's weak mask, and a fourth term that pushes down what the network predicts.
    """
    defended = deepcopy(start)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        logits = network(batch.images)
        targets = second_most_likely_class(logits, batch.labels, mask=MASKS[variant])
        attacked = attack(network, batch.images, targets)
        pushed = logits.detach().argmax(1) if variant == "released" else targets
        return polarizer_loss(logits, network(attacked), batch.labels, pushed, weights=loss_weights)

    optimizer = schedule.sgd(defended.polarizer.parameters())
    train(defended, clean, schedule, loss_fn=loss_fn, optimizer=optimizer, on_event=on_event)
    return defended


def polarizer_loss(
    clean: Logits, attacked: Logits, labels: Labels, targets: Labels, *, weights: Sequence[float]
) -> Loss:
    """The sum of four terms with a weight each: two that keep the right answers, and two that push down wrong ones.

    Fit the labels; keep the predictions under attack; push down, under attack, the most likely wrong class, and the
    target. The last two are -log(1.0001 - p) for a class's probability p, in [-1e-4, 9.22].
    """
    penalty = -(1.0001 - attacked.float().softmax(1) + 1e-12).log()
    fit, keep = F.cross_entropy(clean, labels), F.cross_entropy(attacked, clean.detach().argmax(1))
    wrong = second_most_likely_class(attacked, labels)
    pushed = [penalty.gather(1, classes[:, None]).mean() for classes in (wrong, targets)]
    return torch.stack([weight * term for weight, term in zip(weights, (fit, keep, *pushed), strict=True)]).sum()
