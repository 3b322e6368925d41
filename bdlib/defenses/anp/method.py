"""Adversarial neuron pruning (ANP). Wu and Wang, NeurIPS 2021, arXiv:2110.14430.

NeuronPerturbation every filter of a backdoored network a little, in the direction that hurts most, and it falls back on the target
class: backdoor filters are the sensitive ones. A mask on each filter is trained to keep accuracy under that shaking,
and the filters whose masks it pushes down are pruned.
"""

from copy import deepcopy
from typing import Literal

import torch.nn.functional as F
from torch import Generator, nn
from torch.optim import SGD

from bdlib.data.images import ImageSet
from bdlib.defenses.anp.perturbation import adversarial_perturbation, perturbed_logits
from bdlib.training.filter_masks import Masked, PerFilter, choose_threshold, prune
from bdlib.training.loop import Schedule, train
from bdlib.types import Batch, Loss


def anp(
    model: nn.Module, clean: ImageSet, *,
    perturbation: float = 0.4, trade_off: float = 0.2,  # epsilon and alpha, see below; paper and released code
    mask_threshold: float | None = 0.2,  # a mask up to here is pruned; paper. None: as far as allowed_drop lets it
    allowed_drop: float = 0.04,  # of accuracy on `clean`, where it chooses the threshold; ours
    mask_epochs: int = 500, mask_learning_rate: float = 0.2,  # 2,000 steps of 128 on 500 images; released code
    batch_size: int = 128, augmentation: int | None = 4,  # augmentation: pixels of random crop, with mirroring; released code
    variant: Literal["paper", "released"] = "paper",  # released: see adversarial_perturbation
    seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A copy of `model` without its sensitive filters; no other weight is changed."""
    masks = robust_masks(model, clean, perturbation=perturbation, trade_off=trade_off, mask_epochs=mask_epochs,
                         mask_learning_rate=mask_learning_rate, batch_size=batch_size, augmentation=augmentation,
                         variant=variant, seed=seed)  # fmt: skip
    if mask_threshold is None:
        mask_threshold = choose_threshold(model, masks, clean, allowed_drop=allowed_drop)
    return prune(model, masks, mask_threshold)


def robust_masks(
    model: nn.Module, clean: ImageSet, *, perturbation: float = 0.4, trade_off: float = 0.2, mask_epochs: int = 500,
    mask_learning_rate: float = 0.2, batch_size: int = 128, augmentation: int | None = 4,
    variant: Literal["paper", "released"] = "paper", seed: int = 0,
) -> dict[str, PerFilter]:  # fmt: skip
    """The trained masks by BatchNorm layer, in [0, 1]. BatchNorm is in training mode throughout, as released.

    The released code draws its batches with replacement; here every epoch is a permutation of `clean`.
    """
    masked = Masked(deepcopy(model))
    generator = Generator().manual_seed(seed)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        masked.clip()  # what the last step left outside [0, 1]
        shake = adversarial_perturbation(masked, batch, perturbation=perturbation, variant=variant, generator=generator)
        robust = F.cross_entropy(perturbed_logits(masked, batch.images, shake), batch.labels)
        plain = F.cross_entropy(masked(batch.images), batch.labels)
        return trade_off * plain + (1 - trade_off) * robust

    schedule = Schedule(mask_epochs, mask_learning_rate, anneal="constant", batch_size=batch_size, weight_decay=0,
                        augmentation=augmentation, seed=seed)  # fmt: skip
    train(masked, clean, schedule, loss_fn=loss_fn, optimizer=SGD(masked.masks, mask_learning_rate, momentum=0.9))
    masked.clip()
    return masked.values()
