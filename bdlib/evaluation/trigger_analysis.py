"""What a person who holds the trigger can measure inside a model. For analysis only: no defense may import this."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.models import evaluation_mode, tap
from bdlib.training.filter_masks import PerFilter
from bdlib.types import Trigger


@checked
@torch.no_grad()
def trigger_activated_change(
    model: nn.Module, images: ImageSet, trigger: Trigger, layers: Sequence[str]
) -> dict[str, PerFilter]:
    """Trigger-activated change (TAC) of every filter of `layers`: how much the trigger moves its map.

    The absolute difference between a filter's outputs on an image and on its triggered copy, averaged over images and
    summed over pixels. Zheng et al. 2022, arXiv:2208.03111, with the absolute value in place of the square.
    """
    with evaluation_mode(model), tap(model, *layers) as plain:
        model(images.images.float() / 255)
    with evaluation_mode(model), tap(model, *layers) as moved:
        model(apply_trigger(images.images, trigger).float() / 255)
    return {layer: (moved[layer] - plain[layer]).abs().mean(0).flatten(1).sum(1) for layer in layers}


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two vectors of equal length, in [-1, 1]; nan where one of them is constant."""
    from scipy.stats import spearmanr

    if one.min() == one.max() or other.min() == other.max():
        return float("nan")
    return float(spearmanr(one.detach().cpu().numpy(), other.detach().cpu().numpy()).statistic)


def precision_at(count: int, scores: Tensor, truth: Tensor) -> float:
    """The share of the `count` highest `scores` that are among the `count` highest `truth`; chance is count / n."""
    return torch.isin(scores.topk(count).indices, truth.topk(count).indices).double().mean().item()


def auc(scores: Float[Tensor, " n"], wanted: Bool[Tensor, " n"]) -> float:
    """How often a wanted image scores above another, ties counting half; nan where either kind is missing."""
    from scipy.stats import mannwhitneyu

    values, wanted = scores.detach().cpu().double(), wanted.cpu()
    pairs = int(wanted.sum()) * int((~wanted).sum())
    return float(mannwhitneyu(values[wanted], values[~wanted]).statistic) / pairs if pairs else float("nan")


def joined(per_layer: Mapping[str, Tensor]) -> Tensor:
    """The layers' numbers as one vector, in the mapping's order."""
    return torch.cat([values.flatten() for values in per_layer.values()])
