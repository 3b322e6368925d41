"""Benign salience and adaptive regularization (AR). Fan et al. 2022, arXiv:2208.06537.

A weight times its gradient tells, to first order, what removing the weight does to the clean task: its benign
salience. The weights that serve this task least are marked as bad. The network is then fine-tuned on clean images. The
marked weights pay a penalty that adapts to their size, while the marks spread to all weights.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn
from torch.optim import SGD

from bdlib import ranges
from bdlib.checks import ParameterError, checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.ar.salience import Selection, benign_salience, mask, updated, weights_inside
from bdlib.models import default_layers
from bdlib.training.demands import trainable
from bdlib.training.loop import Epoch, Schedule, cross_entropy, steps
from bdlib.types import OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers


def require_weights(model: nn.Module, layers: Sequence[str] | None) -> None:
    """Raise ParameterError unless each of `layers`, or the network's head, holds weights that can be purified."""
    for layer in layers or default_layers(model, "head"):
        if not weights_inside(model, [layer]):
            raise ParameterError(f"layers={layer!r}: must hold a convolution (Conv2d) or a linear layer")


@checked
@needs(require_weights)
def ar(
    model: nn.Module,
    clean: ImageSet,
    *,
    layers: Annotated[Sequence[str], Field(min_length=1)] | None = None,  # whose weights are purified; None: the head
    alpha: ranges.Weight = 0.01,  # weight of the summed penalty; this and all below: paper not seen; released code
    regularizer: Literal["adaptive", "l1", "l2", "l2_matched"] = "adaptive",  # the abstract calls the others "common"
    select: Selection = "bottom",  # the least salient, as the abstract says; released code: top
    initial_share: ranges.Fraction = 0.5,  # of the weights marked, growing to 1 with the epochs
    decay: ranges.Fraction = 0.9,  # of the salience's moving average
    epochs: ranges.CountOrZero = 10,
    learning_rate: ranges.LearningRate = 0.01,
    momentum: Annotated[
        float, Field(ge=0, le=0.999, allow_inf_nan=False)
    ] = 0.9,  # first released code; 0 since June 2022
    batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    variant: ranges.Variant = "paper",
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. With `alpha` zero it is fine-tuning.

    Example::

        repaired = ar(victim, clean, layers=["layer3", "head"], alpha=0.0003)

    "l2_matched" is L2 with its own weight in place of `alpha`: the one at which it begins as large as "adaptive" would.
    `variant="released"` has the code's marks (top), penalty and score, whatever `select` and `regularizer` say.
    `on_event` is told "epoch" (`bdlib.training.loop.Epoch`) after each epoch, and at the end "convergence": for each
    epoch a pair, its mean cross-entropy and the mean size of the purified weights after it. Raises ParameterError for a
    layer that does not exist or holds no weights, and for a keyword out of range.
    """
    layers = layers or default_layers(model, "head")
    salience = benign_salience(model, clean, layers=layers, decay=decay, batch_size=batch_size,
                               augmentation=augmentation, seed=seed)  # fmt: skip
    repaired, released = deepcopy(model).requires_grad_(True), variant == "released"
    weights, convergence = weights_inside(repaired, layers), list[tuple[float, float]]()
    if regularizer == "l2_matched" and epochs and not released:
        marks = {name: mask(s, masked_share(1, epochs, initial_share), select) for name, s in salience.items()}
        alpha = matched_weight(weights, marks, alpha)

    def add_penalty(epoch: int) -> None:
        share = masked_share(epoch + 1, epochs, initial_share)
        for name, weight in weights.items():
            marked = mask(salience[name], share, "top" if released else select)
            penalty = released_penalty(weight, marked) if released else REGULARIZERS[regularizer](weight) * marked
            fit, pull = weight.grad.clone(), torch.autograd.grad(alpha * penalty.sum(), weight)[0]  # type: ignore[union-attr]
            salience[name] = updated(salience[name], fit + pull if released else fit, weight, decay)
            weight.grad = fit + pull

    schedule = Schedule(epochs, learning_rate, anneal="constant", batch_size=batch_size,
                        augmentation=augmentation, seed=seed)  # fmt: skip
    sgd = SGD(trainable(repaired.parameters()), learning_rate, momentum=momentum)
    for batch, step in steps(repaired, clean, schedule, sgd):
        step(lambda: cross_entropy(repaired, batch), before_update=lambda: add_penalty(step.epoch))
        if step.ends_epoch:
            on_event("epoch", Epoch(step.epoch, step.mean_loss, repaired))
            convergence.append((step.mean_loss, mean_size(weights)))
    on_event("convergence", convergence)
    return repaired.eval()


def masked_share(epoch: int, epochs: int, initial_share: float = 0.5) -> float:
    """The share of weights marked in `epoch`, counted from 1: it grows by equal steps to 1 in the last."""
    return 1 - (1 - initial_share) * (1 - epoch / epochs)


def mean_size(weights: Mapping[str, Tensor]) -> float:
    """The mean absolute value over all entries of the named tensors."""
    return torch.cat([weight.detach().abs().flatten() for weight in weights.values()]).mean().item()


def matched_weight(weights: Mapping[str, Tensor], marks: Mapping[str, Tensor], alpha: float) -> float:
    """The weight that makes L2 on the marked entries pay what the adaptive penalty pays on them with weight `alpha`.

    Example: ``matched_weight({"w": torch.tensor([0.5, 0.1])}, {"w": torch.tensor([True, False])}, 1.0)`` is 2.

    Raises ParameterError where no marked entry differs from zero.
    """
    marked = torch.cat([weight.detach()[marks[name]] for name, weight in weights.items()])
    if not marked.any():
        raise ParameterError("regularizer='l2_matched': needs a weight that is marked in the first epoch and not zero")
    return alpha * (adaptive_penalty(marked).sum() / marked.square().sum()).item()


def adaptive_penalty(weight: Tensor) -> Tensor:
    """The penalty of each weight: its size up to 1, exp(size - 1) beyond. Its slope jumps at zero alone."""
    size = weight.abs()
    return torch.where(size <= 1, size, (size - 1).exp())


def released_penalty(weight: Tensor, marked: Bool[Tensor, "..."]) -> Tensor:
    """The released code's penalty, with two defects.

    Unmarked weights pay their size too. Marked weights below -1 have a negative penalty, which pushes them further away
    from zero.
    """
    inside = (weight * marked).abs() <= 1
    return torch.where(inside, weight.abs(), weight.sign() * (weight.abs() - 1).exp())


REGULARIZERS: dict[str, Callable[[Tensor], Tensor]]
REGULARIZERS = {"adaptive": adaptive_penalty, "l1": torch.abs, "l2": torch.square, "l2_matched": torch.square}
