"""Adversarial neuron pruning (ANP). Wu and Wang, NeurIPS 2021, arXiv:2110.14430.

Change the weight and the bias behind every filter of a backdoored network a little, in the direction that raises the
loss most, and the network predicts the target class: backdoor filters are the most sensitive to such adversarial neuron
perturbations. A mask on each filter is trained to keep accuracy under them. The filters with low masks are pruned.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.training.filter_masks import Masked, PerFilter, batch_norms, choose_threshold, prune, require_batch_norm
from bdlib.training.loop import Schedule, cross_entropy, steps
from bdlib.types import Batch, Images, Logits, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


@checked
@needs(require_batch_norm)
def anp(
    model: nn.Module,
    clean: ImageSet,
    *,
    perturbation: ranges.Fraction = 0.4,  # epsilon; paper and released code
    trade_off: ranges.Fraction = 0.2,  # alpha, the weight of the unperturbed loss; paper and released code
    mask_threshold: ranges.Fraction
    | None = 0.2,  # masks up to it are pruned; paper. None: the highest allowed_drop permits
    allowed_drop: ranges.Fraction = 0.04,  # of accuracy on `clean`, where it chooses the threshold; ours
    mask_epochs: ranges.Count = 500,  # 2,000 steps of 128 on 500 images; this and all below: released code
    mask_learning_rate: ranges.LearningRate = 0.2,
    batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    variant: ranges.Variant = "paper",  # released: perturbations twice as large, see `adversarial_perturbation`
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A copy of `model` without its sensitive filters; no other weight changes. `clean` is a small trusted set.

    Example::

        pruned = anp(victim, clean, mask_epochs=14, mask_threshold=None)

    `on_event` is told "mask_step" (the `Masked` model after each step), "masks" (by BatchNorm layer) and "threshold".

    Raises ParameterError for a keyword out of range, and for a network without BatchNorm2d layers.
    """
    schedule = Schedule(mask_epochs, mask_learning_rate, "constant", batch_size=batch_size, weight_decay=0.0,
                        augmentation=augmentation, seed=seed)  # fmt: skip
    masks = robust_masks(model, clean, schedule, perturbation=perturbation, trade_off=trade_off, variant=variant,
                         on_event=on_event)  # fmt: skip
    on_event("masks", masks)
    if mask_threshold is None:
        mask_threshold = choose_threshold(model, masks, clean, allowed_drop=allowed_drop)
    on_event("threshold", mask_threshold)
    return prune(model, masks, mask_threshold)


@checked
def robust_masks(
    model: nn.Module,
    clean: ImageSet,
    schedule: Schedule,
    *,
    perturbation: ranges.Fraction,
    trade_off: ranges.Fraction,
    variant: ranges.Variant = "paper",
    on_event: OnEvent = ignore,
) -> dict[str, PerFilter]:
    """Masks in [0, 1], by BatchNorm layer, trained to keep accuracy under adversarial neuron perturbations.

    BatchNorm is in training mode throughout, as in the released code. The released code draws its batches with
    replacement; here every epoch is a permutation of `clean`.
    """
    masked, generator = Masked(deepcopy(model)), Generator().manual_seed(schedule.seed)
    for batch, step in steps(masked, clean, schedule, schedule.sgd(masked.masks)):

        def loss() -> Loss:
            worst = adversarial_perturbation(
                masked, batch, perturbation=perturbation, variant=variant, generator=generator
            )
            robust = F.cross_entropy(perturbed_logits(masked, batch.images, worst), batch.labels)
            return trade_off * cross_entropy(masked, batch) + (1 - trade_off) * robust

        step(loss)
        masked.clip()
        on_event("mask_step", masked)
    return masked.values()


class NeuronPerturbation(NamedTuple):
    """Relative changes of BatchNorm: for each layer, in the order of the masks, a number for each channel."""

    weights: list[Tensor]  # delta: added to the mask
    biases: list[Tensor]  # xi: the bias is multiplied by 1 + xi


def adversarial_perturbation(
    masked: Masked, batch: Batch, *, perturbation: float, variant: ranges.Variant, generator: Generator
) -> NeuronPerturbation:
    """One step of size `perturbation` along the sign of the gradient, from a random start: it raises the loss most.

    In the paper `perturbation` bounds the result. In the released code, start and step may add up to twice as much.
    """
    sizes = [len(mask) for mask in masked.masks]
    noise = [2 * perturbation * torch.rand(size, generator=generator) - perturbation for size in sizes * 2]
    start = [values.to(batch.labels.device).requires_grad_() for values in noise]
    half, bound = len(sizes), perturbation * (2 if variant == "released" else 1)
    logits = perturbed_logits(masked, batch.images, NeuronPerturbation(start[:half], start[half:]))
    slopes = torch.autograd.grad(F.cross_entropy(logits, batch.labels), start)
    ends = [
        (values.detach() + perturbation * slope.sign()).clamp(-bound, bound)
        for values, slope in zip(start, slopes, strict=True)
    ]
    return NeuronPerturbation(ends[:half], ends[half:])


def perturbed_logits(masked: Masked, images: Images, change: NeuronPerturbation) -> Logits:
    """The masked network's logits with BatchNorm weights (mask + delta) w and biases (1 + xi) b."""
    layers = batch_norms(masked.model)
    factors = {name: m + d for name, m, d in zip(masked.names, masked.masks, change.weights, strict=True)}
    biases = {f"{n}.bias": layers[n].bias * (1 + xi) for n, xi in zip(masked.names, change.biases, strict=True)}
    return functional_call(masked.model, masked.scaled(factors) | biases, (images,))
