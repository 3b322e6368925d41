"""Which filters NWC ranks, how far unlearning moved them, and the network with the most changed ones emptied."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.models import accuracy
from bdlib.training.filter_masks import PerFilter

Changes = dict[str, Tensor]  # by convolution: how far each weight moved, shape (o, i, h, w)
RATIOS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4)  # of filters, that `choose_ratio` tries; the released script's, denser
KEPT = 0.9  # of clean accuracy, that it asks for; ours: a tenth is what backdoor-toolbox lets RNP's pruning cost


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions whose filters are ranked, by name: all but those of shortcuts."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    return {name: layer for name, layer in layers.items() if "shortcut" not in name and "downsample" not in name}


def weight_change(model: nn.Module, unlearned: nn.Module) -> Changes:
    """How far each weight of `convolutions` moved: absolute differences, by layer."""
    after = convolutions(unlearned)
    return {name: (after[name].weight - layer.weight).detach().abs() for name, layer in convolutions(model).items()}


def neuron_weight_change(change: Changes) -> dict[str, PerFilter]:
    """NWC: the sum, not the mean, of the changes of each filter's weights. Filters with many inputs rank higher."""
    return {name: moved.flatten(1).sum(1) for name, moved in change.items()}


@checked
def reinitialize(
    model: nn.Module,
    change: Changes,
    *,
    neuron_ratio: ranges.Fraction,
    weight_ratio: ranges.Fraction,
    variant: ranges.Variant = "paper",
) -> nn.Module:
    """A copy of `model`, zero at the `weight_ratio` most changed weights of its `neuron_ratio` most changed filters.

    The filters of all layers are ranked together, and so are the weights of the selected ones. Weights that tie with
    the last one are zeroed too.
    """
    scores = torch.cat(list(neuron_weight_change(change).values()))
    ranked = (scores.round(decimals=4) if variant == "released" else scores).argsort(descending=True, stable=True)
    selected = torch.zeros_like(scores, dtype=torch.bool)
    selected[ranked[: int(neuron_ratio * len(scores) + 1e-9)]] = True  # 0.7 of 10 is 7, not 6.999
    filters = dict(zip(change, selected.split([len(moved) for moved in change.values()]), strict=True))
    pool = torch.cat([change[name][mask].flatten() for name, mask in filters.items()])
    count, reinitialized = int(weight_ratio * len(pool) + 1e-9), deepcopy(model).eval()
    least = pool.topk(count).values[-1] if count else torch.inf
    for name, layer in convolutions(reinitialized).items():
        layer.weight.data[filters[name][:, None, None, None] & (change[name] >= least)] = 0
    return reinitialized


@checked
def choose_ratio(
    model: nn.Module, change: Changes, clean: ImageSet, *,
    weight_ratio: ranges.Fraction, variant: ranges.Variant = "paper",
) -> float:  # fmt: skip
    """The largest of `RATIOS` at which the emptied network keeps `KEPT` of the accuracy of `model` on `clean`.

    It looks at the network before any repair: one that has lost its classes tells nothing about its backdoor. Returns
    0, which zeroes nothing, where every ratio costs more. Ours; neither paper nor released code has a rule.

    Example::

        ratio = choose_ratio(victim, weight_change(victim, unlearned), clean, weight_ratio=0.7)
    """
    lowest_accuracy = KEPT * accuracy(model, clean)
    for ratio in reversed(RATIOS):
        emptied = reinitialize(model, change, neuron_ratio=ratio, weight_ratio=weight_ratio, variant=variant)
        if accuracy(emptied, clean) >= lowest_accuracy:
            return ratio
    return 0.0
