"""First-order salience: what the loss would gain or lose, weight by weight, were the weight zero.

A Taylor step from a weight w to zero changes a loss L by -w dL/dw. Averaged over clean batches that is AR's benign
salience (Fan et al. 2022, arXiv:2208.06537; the formula is that of its released code).
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Generator, Tensor, nn

from bdlib.data.images import ImageSet, batches

Kinds = tuple[type[nn.Module], ...]
WEIGHTED: Kinds = (nn.Conv2d, nn.Linear)


def weights_inside(model: nn.Module, layers: Sequence[str], kinds: Kinds = WEIGHTED) -> dict[str, nn.Parameter]:
    """Weights and biases, by name, of all layers of these `kinds` inside `layers`; BatchNorm's are not by default.

    Raises AttributeError for a layer that does not exist.
    """
    modules = [pair for layer in layers for pair in model.get_submodule(layer).named_modules(prefix=layer)]
    kept = [(name, module) for name, module in modules if isinstance(module, kinds)]
    return {key: weight for name, module in kept for key, weight in module.named_parameters(prefix=name)}


def benign_salience(
    model: nn.Module,
    clean: ImageSet,
    *,
    layers: Sequence[str],
    kinds: Kinds = WEIGHTED,
    decay: float = 0.9,  # of the moving average; released code
    batch_size: int = 128,  # released code
    augmentation: int | None = 4,  # pixels of random crop, with mirroring; released code
    seed: int = 0,
) -> dict[str, Tensor]:
    """The salience of every weight inside `layers` after one pass over `clean` without a step, shaped like the weight.

    Positive where removal would raise the clean loss. BatchNorm uses the batch's statistics; `model` is left alone.
    Raises AttributeError for a layer that does not exist.
    """
    probe, generator = deepcopy(model).requires_grad_(True).train(), Generator().manual_seed(seed)
    weights = weights_inside(probe, layers, kinds)
    salience = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights.items()}
    for batch in batches(clean, batch_size, augmentation=augmentation, generator=generator):
        loss = F.cross_entropy(probe(batch.images), batch.labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            salience[name] = updated(salience[name], gradient, weight, decay)
    return salience


def updated(salience: Tensor, gradient: Tensor, weight: Tensor, decay: float = 0.9) -> Tensor:
    """The moving average after one more batch: decay * salience - (1 - decay) * gradient * weight, entry by entry."""
    return decay * salience - (1 - decay) * gradient.detach() * weight.detach()


def mask(salience: Tensor, share: float, select: str = "bottom") -> Bool[Tensor, "..."]:
    """Which entries are marked: `share` of them, rounded down, and those tied with the last.

    "bottom" marks the least salient, "top" the most, "bottom_abs" those nearest to zero. Raises KeyError for another.
    """
    order = {"top": salience, "bottom": -salience, "bottom_abs": -salience.abs()}[select]
    count = int(share * order.numel())
    if count == 0:
        return torch.zeros_like(order, dtype=torch.bool)
    return order >= order.flatten().kthvalue(order.numel() - count + 1).values
