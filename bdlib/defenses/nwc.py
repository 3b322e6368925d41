"""Neuron weight change and backdoor activeness (NWC; TSBD). Lin et al., NeurIPS 2024, arXiv:2405.20291.

The filters that change most while a network unlearns clean images are those that would change most if it unlearned
its backdoor: they lose their most changed weights. Gradients are large where there is a backdoor, so the repair
prefers weights where they are small, lest it come back.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.training.filter_masks import PerFilter
from bdlib.training.loop import Schedule, train
from bdlib.training.sam import SharpnessAware
from bdlib.training.unlearning import OnEpoch
from bdlib.training.unlearning import unlearn as clean_unlearn


def nwc(
    model: nn.Module,
    clean: ImageSet,
    *,
    neuron_ratio: float = 0.4,  # n; paper not seen, none released; chosen by the rule of the chapter, section 9
    weight_ratio: float = 0.7,  # m; paper not seen; released code
    alpha: float = 0.7,  # the uphill gradient's share of a step; paper not seen; released code
    rho: float = 0.05,  # r, how far uphill it is taken; paper not seen; released code
    stop_accuracy: float = 0.1,  # where unlearning ends: chance, for ten classes; paper not seen; released code
    unlearning_rate: float = 1e-4,  # paper not seen; released code
    learning_rate: float = 0.01,  # paper not seen; released code
    epochs: int = 20,  # of the repair; paper not seen; released code
    batch_size: int = 256,  # paper not seen; released code
    augmentation: int | None = 4,  # pixels of random crop, with mirroring; None for no augmentation
    variant: Literal["paper", "released"] = "paper",
    seed: int = 0,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. No filters, no alpha: fine-tuning.

    `variant="released"`: filters ranked by changes rounded to four decimals, and one epoch more than asked for.
    """
    schedule = Schedule(epochs + (variant == "released"), learning_rate, anneal="constant", batch_size=batch_size,
                        weight_decay=0.0, augmentation=augmentation, seed=seed)  # fmt: skip
    ascent_loss = replace(schedule, epochs=1000, learning_rate=unlearning_rate)
    unlearned = clean_unlearn(model, clean, ascent_loss, stop_accuracy=stop_accuracy) if neuron_ratio else model
    emptied = reinitialize(model, weight_change(model, unlearned), neuron_ratio=neuron_ratio,
                           weight_ratio=weight_ratio, variant=variant)  # fmt: skip
    return activeness_aware_fine_tune(emptied, clean, schedule, alpha=alpha, rho=rho)


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions whose filters are ranked, by name: all but those of shortcuts."""
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    return {name: layer for name, layer in found.items() if "shortcut" not in name and "downsample" not in name}


def weight_change(model: nn.Module, unlearned: nn.Module) -> dict[str, Tensor]:
    """How far each weight of those convolutions moved: for each layer, absolute differences of shape (o, i, h, w)."""
    after = convolutions(unlearned)
    return {name: (after[name].weight - layer.weight).detach().abs() for name, layer in convolutions(model).items()}


def neuron_weight_change(change: dict[str, Tensor]) -> dict[str, PerFilter]:
    """NWC: the sum, not the mean, of the changes of each filter's weights; filters with many inputs rank higher."""
    return {name: moved.flatten(1).sum(1) for name, moved in change.items()}


def reinitialize(
    model: nn.Module, change: dict[str, Tensor], *, neuron_ratio: float, weight_ratio: float, variant: str = "paper"
) -> nn.Module:
    """A copy of `model`, zero at the `weight_ratio` most changed weights of its `neuron_ratio` most changed filters.

    All layers' filters are ranked together, and so are the weights of the chosen ones; ties at the limit go too.
    """
    scores = torch.cat(list(neuron_weight_change(change).values()))
    ranked = (scores.round(decimals=4) if variant == "released" else scores).argsort(descending=True, stable=True)
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[ranked[: int(neuron_ratio * len(scores) + 1e-9)]] = True  # 0.7 of 10 is 7, not 6.999
    filters = dict(zip(change, chosen.split([len(moved) for moved in change.values()]), strict=True))
    pool = torch.cat([change[name][mask].flatten() for name, mask in filters.items()])
    count, emptied = int(weight_ratio * len(pool) + 1e-9), deepcopy(model).eval()
    least = pool.topk(count).values[-1] if count else torch.inf
    for name, layer in convolutions(emptied).items():
        layer.weight.data[filters[name][:, None, None, None] & (change[name] >= least)] = 0
    return emptied


def activeness_aware_fine_tune(
    model: nn.Module, clean: ImageSet, schedule: Schedule, *, alpha: float, rho: float, on_epoch: OnEpoch | None = None
) -> nn.Module:
    """A copy of `model` fine-tuned by (1 - alpha) g + alpha g', where g' is the gradient `rho` uphill in every tensor.

    To first order it descends ``CE + alpha rho ||grad CE||``. With `alpha` or `rho` zero it is plain fine-tuning.
    """
    repaired = deepcopy(model).requires_grad_(True)
    optimizer = SharpnessAware(repaired, schedule.sgd(repaired.parameters()), rho=rho, per_tensor=True, mix=alpha)
    return train(repaired, clean, schedule, optimizer=optimizer,
                 on_event=lambda _, e: on_epoch(e.number, repaired) if on_epoch else None)  # fmt: skip
