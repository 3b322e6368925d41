"""Benign salience: what the clean loss would gain or lose, to first order, if a weight were zero.

A Taylor step from a weight w to zero changes a loss L by -w dL/dw. AR's benign salience is its average over clean
batches (Fan et al. 2022, arXiv:2208.06537; the formula is that of its released code).
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import find_layer
from bdlib.training.demands import require_batches

Kinds = tuple[type[nn.Module], ...]
Selection = Literal["bottom", "top", "bottom_abs"]  # the least salient, the most, or those nearest to zero
WEIGHTED: Kinds = (nn.Conv2d, nn.Linear)


def weights_inside(model: nn.Module, layers: Sequence[str], kinds: Kinds = WEIGHTED) -> dict[str, nn.Parameter]:
    """Weights and biases, by name, of all layers of these `kinds` inside `layers`; by default not those of BatchNorm.

    Raises ParameterError for a layer that does not exist.
    """
    modules = [pair for layer in layers for pair in find_layer(model, layer).named_modules(prefix=layer)]
    weighted = [(name, module) for name, module in modules if isinstance(module, kinds)]
    return {key: weight for name, module in weighted for key, weight in module.named_parameters(prefix=name)}


@checked
def benign_salience(
    model: nn.Module,
    clean: ImageSet,
    *,
    layers: Sequence[str],
    kinds: Kinds = WEIGHTED,
    decay: ranges.Fraction = 0.9,  # of the moving average; this and all below: released code
    batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
) -> dict[str, Tensor]:
    """The salience of every weight inside `layers`, shaped like the weight, from one pass over `clean` without a step.

    It is positive where removing the weight would raise the clean loss. BatchNorm uses the batch's statistics. `model`
    is not changed. Raises ParameterError for a layer that does not exist or takes no part in the forward pass, for a
    keyword out of range, and when `clean` is empty.
    """
    require_batches(model, clean, batch_size)
    probe, generator = deepcopy(model).requires_grad_(True).train(), Generator().manual_seed(seed)
    weights = weights_inside(probe, layers, kinds)
    salience = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights.items()}
    for batch in batches(clean, batch_size, augmentation=augmentation, generator=generator):
        loss = F.cross_entropy(probe(batch.images), batch.labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        if unused := [name for name, gradient in zip(weights, gradients, strict=True) if gradient is None]:
            raise ParameterError(f"layers={list(layers)}: {unused[0]} takes no part in the forward pass")
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            salience[name] = updated(salience[name], gradient, weight, decay)
    return salience


def updated(salience: Tensor, gradient: Tensor, weight: Tensor, decay: float = 0.9) -> Tensor:
    """The moving average after one more batch: decay * salience - (1 - decay) * gradient * weight, entry by entry."""
    return decay * salience - (1 - decay) * gradient.detach() * weight.detach()


def mask(salience: Tensor, share: float, select: Selection = "bottom") -> Bool[Tensor, "..."]:
    """The marked entries: `share` of them, rounded down, and those tied with the last.

    "bottom" marks the least salient, "top" the most, "bottom_abs" those nearest to zero.
    """
    order = {"top": salience, "bottom": -salience, "bottom_abs": -salience.abs()}[select]
    count = int(share * order.numel())
    if count == 0:
        return torch.zeros_like(order, dtype=torch.bool)
    return order >= order.flatten().kthvalue(order.numel() - count + 1).values
