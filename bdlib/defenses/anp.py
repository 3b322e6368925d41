"""Adversarial neuron pruning (ANP). Wu and Wang, NeurIPS 2021, arXiv:2110.14430.

Shake every filter of a backdoored network a little, in the direction that hurts most, and it falls back on the target
class: backdoor filters are the sensitive ones. A mask on each filter is trained to keep accuracy under that shaking,
and the filters whose masks it pushes down are pruned.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import SGD

from bdlib.data import ImageSet
from bdlib.filters import Masked, PerFilter, batch_norms, pruned
from bdlib.train import Schedule, train
from bdlib.types import Batch, Images, Logits, Loss


class Shake(NamedTuple):
    """Relative changes of BatchNorm, a number for each channel of each layer, in the masks' order."""

    weights: list[Tensor]  # delta: added to the mask
    biases: list[Tensor]  # xi: the bias is multiplied by 1 + xi


def anp(
    model: nn.Module,
    clean: ImageSet,
    *,
    perturbation: float = 0.4,  # the largest relative change; paper and released code
    trade_off: float = 0.2,  # the undisturbed loss's share; paper and released code
    mask_threshold: float = 0.2,  # a mask up to here is pruned; paper
    mask_epochs: int = 500,  # 2,000 steps of 128 on 500 images; released code
    mask_learning_rate: float = 0.2,  # released code
    batch_size: int = 128,  # released code
    pad: int | None = 4,  # pixels of random crop, with mirroring; released code
    variant: Literal["paper", "released"] = "paper",
    seed: int = 0,
) -> nn.Module:
    """A copy of `model` without its sensitive filters; no other weight is changed.

    `variant="released"`: changes start at random within the bound and take a step as large as it, and are not brought
    back: some end twice as large as the paper allows.
    """
    masks = robust_masks(model, clean, perturbation=perturbation, trade_off=trade_off, mask_epochs=mask_epochs,
                         mask_learning_rate=mask_learning_rate, batch_size=batch_size, pad=pad,
                         variant=variant, seed=seed)  # fmt: skip
    return pruned(model, {name: mask > mask_threshold for name, mask in masks.items()})


def robust_masks(model: nn.Module, clean: ImageSet, *, perturbation: float = 0.4, trade_off: float = 0.2,
                 mask_epochs: int = 500, mask_learning_rate: float = 0.2, batch_size: int = 128, pad: int | None = 4,
                 variant: Literal["paper", "released"] = "paper", seed: int = 0) -> dict[str, PerFilter]:  # fmt: skip
    """The trained masks by BatchNorm layer, in [0, 1]. BatchNorm is in training mode throughout, as released.

    The released code draws its batches with replacement; here every epoch is a permutation of `clean`.
    """
    masked = Masked(deepcopy(model))
    generator = Generator().manual_seed(seed)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        masked.clip()  # what the last step left outside [0, 1]
        shake = worst_shake(masked, batch, perturbation=perturbation, variant=variant, generator=generator)
        robust = F.cross_entropy(shaken(masked, batch.images, shake), batch.labels)
        plain = F.cross_entropy(masked(batch.images), batch.labels)
        return trade_off * plain + (1 - trade_off) * robust

    schedule = Schedule(mask_epochs, mask_learning_rate, anneal="constant", batch_size=batch_size, weight_decay=0,
                        pad=pad, seed=seed)  # fmt: skip
    train(masked, clean, schedule, loss_fn=loss_fn, optimizer=SGD(masked.masks, mask_learning_rate, momentum=0.9))
    masked.clip()
    return masked.values()


def worst_shake(masked: Masked, batch: Batch, *, perturbation: float, variant: str, generator: Generator) -> Shake:
    """One step of size `perturbation` up the gradient's sign from a random start: the changes that hurt most."""
    counts = [len(mask) for mask in masked.masks]
    drawn = [2 * perturbation * torch.rand(count, generator=generator) - perturbation for count in counts * 2]
    start = [noise.to(batch.labels.device).requires_grad_() for noise in drawn]
    loss = F.cross_entropy(shaken(masked, batch.images, halves(start)), batch.labels)
    slopes = torch.autograd.grad(loss, start)
    moved = [noise.detach() + perturbation * slope.sign() for noise, slope in zip(start, slopes, strict=True)]
    return halves(moved if variant == "released" else [noise.clamp(-perturbation, perturbation) for noise in moved])


def halves(noise: Sequence[Tensor]) -> Shake:
    return Shake(list(noise[: len(noise) // 2]), list(noise[len(noise) // 2 :]))


def shaken(masked: Masked, images: Images, shake: Shake) -> Logits:
    """The masked network's logits when its BatchNorm weights are (m + delta) w and its biases (1 + xi) b."""
    layers = batch_norms(masked.model)
    factors = {name: m + d for name, m, d in zip(masked.names, masked.masks, shake.weights, strict=True)}
    biases = {f"{n}.bias": layers[n].bias * (1 + xi) for n, xi in zip(masked.names, shake.biases, strict=True)}
    return functional_call(masked.model, masked.scaled(factors) | biases, (images,))
