"""Neural polarizer defence (NPD). Zhu et al., NeurIPS 2023, arXiv:2306.16697.

A triggered image still carries the features of its true class, drowned by those of the trigger. One linear layer set
into the frozen network lets the first pass and holds the second back. It is learned against attacks on the network as
defended so far, each towards the class that comes next to an image's own: a stand-in for the unknown trigger.
"""

from collections.abc import Sequence
from copy import deepcopy
from math import inf
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from bdlib.data.images import ImageSet
from bdlib.defenses.npd.polarizer import Polarized, insert
from bdlib.defenses.npd.targeted_pgd import second_most_likely_class, targeted_pgd
from bdlib.training.loop import Schedule, train
from bdlib.types import Batch, Labels, Logits, Loss

# What hides the true class in the search for the next one. The released value, of the authors' MindSpore port, is
# almost zero, which hides it only where another logit is positive; their PyTorch code writes -10.
MASKS = {"paper": -inf, "released": -1e-10}


def npd(
    model: nn.Module,
    clean: ImageSet,
    *,
    layer: str = "layer4.1.conv1",  # whose input is filtered, in PreAct-ResNet18; here and below: paper not seen,
    loss_weights: Sequence[float] = (1.0, 0.4, 0.4, 0.4),  # released code, CIFAR-10; lambda 1 to 4
    radius: float = 3.0,  # L2, of 3 x 32 x 32 pixels in [0, 1]
    step_size: float = 0.1,  # of a sign step, each pixel
    inner_steps: int = 2,
    warm_up_epochs: int = 5,
    epochs: int = 50,
    learning_rate: float = 0.01,  # constant
    batch_size: int = 128,
    variant: Literal["paper", "released"] = "paper",
    seed: int = 0,
) -> Polarized:
    """A frozen copy of `model` with a learned polarizer in front of `layer`; `clean` is the small trusted set.

    `variant="released"`: see `polarize`. Raises ValueError, as `insert` does, for a layer that takes no feature maps.
    """
    start = warm_up(insert(model, clean, layer=layer), clean, epochs=warm_up_epochs, batch_size=batch_size, seed=seed)
    return polarize(start, clean, loss_weights=loss_weights, radius=radius, step_size=step_size,
                    inner_steps=inner_steps, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size,
                    variant=variant, seed=seed)  # fmt: skip


def warm_up(defended: Polarized, clean: ImageSet, *, epochs: int, batch_size: int, seed: int) -> Polarized:
    """A copy whose BatchNorm has taken on the statistics of `clean`: cross-entropy at a tiny rate, in training mode."""
    warm = deepcopy(defended)
    schedule = Schedule(epochs, 1e-4, anneal="constant", batch_size=batch_size, momentum=0, weight_decay=0, augmentation=None,
                        seed=seed)  # plain SGD; rate from the released code  # fmt: skip
    warm.warming_up = True
    train(warm, clean, schedule, optimizer=schedule.sgd(warm.polarizer.parameters()))
    warm.warming_up = False
    return warm


def polarize(
    start: Polarized, clean: ImageSet, *, loss_weights: Sequence[float], radius: float, step_size: float,
    inner_steps: int, epochs: int, learning_rate: float, batch_size: int, variant: str, seed: int,
) -> Polarized:  # fmt: skip
    """A copy of `start` whose polarizer has learned to withstand the attacks that it meets while it learns.

    `variant="released"`: the MindSpore port's weak mask, and a fourth term that pushes down what the network predicts.
    """
    defended, mask = deepcopy(start), MASKS[variant]
    schedule = Schedule(epochs, learning_rate, anneal="constant", batch_size=batch_size, augmentation=None, seed=seed)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        logits = network(batch.images)
        targets = second_most_likely_class(logits, batch.labels, mask=mask)
        attacked = targeted_pgd(network, batch.images, targets, radius=radius, step_size=step_size,
                                     steps=inner_steps)  # fmt: skip
        pushed = logits.detach().argmax(1) if variant == "released" else targets
        return polarizer_loss(logits, network(attacked), batch.labels, pushed, weights=loss_weights)

    train(defended, clean, schedule, loss_fn=loss_fn, optimizer=schedule.sgd(defended.polarizer.parameters()))
    return defended


def polarizer_loss(
    clean: Logits, attacked: Logits, labels: Labels, targets: Labels, *, weights: Sequence[float]
) -> Loss:
    """Fit the labels, keep the predictions under attack, push down the best wrong class and the target: a weight each.

    The last two are -log(1.0001 - p), in [-1e-4, 9.22].
    """
    held = -(1.0001 - attacked.float().softmax(1) + 1e-12).log()
    fit, keep = F.cross_entropy(clean, labels), F.cross_entropy(attacked, clean.detach().argmax(1))
    pushed = [held.gather(1, wrong[:, None]).mean() for wrong in (second_most_likely_class(attacked, labels), targets)]
    return torch.stack([weight * term for weight, term in zip(weights, (fit, keep, *pushed), strict=True)]).sum()
