"""Filters masked and pruned through the BatchNorm layer behind them, as ANP and RNP do.

A filter's mask scales the weight (gamma) of its BatchNorm channel, never the bias. A filter with mask 0 outputs a
constant.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.models import accuracy
from bdlib.types import Images, Logits

PerFilter = Float[Tensor, " c"]  # one number for each channel of a layer
Masks = Mapping[str, PerFilter]  # a number in [0, 1] for each filter, by BatchNorm layer
THRESHOLDS = tuple(step / 20 for step in range(19))  # 0, 0.05, ..., 0.9: the sweep of both released codes


def batch_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Every BatchNorm2d layer that has weights, by name, in the model's own order."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.affine}


def require_batch_norm(model: nn.Module) -> None:
    """Raise ParameterError for a network whose filters cannot be masked."""
    if not batch_norms(model):
        kind = type(model).__name__
        raise ParameterError(f"model: filters are masked in BatchNorm2d layers with weights, and {kind} has none")


class Masked(nn.Module):
    """`model` with a factor on every filter: `masks`, in the order of `names`, all one at the start.

    The model is not copied. Its own weights are frozen, so that only the masks can be trained. Raises ParameterError
    for a network without BatchNorm2d layers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        require_batch_norm(model)
        self.model = model.requires_grad_(False)
        layers = batch_norms(model)
        self.names = list(layers)
        self.masks = nn.ParameterList(
            nn.Parameter(layer.weight.new_ones(len(layer.weight))) for layer in layers.values()
        )

    def forward(self, images: Images) -> Logits:
        return functional_call(self.model, self.scaled(dict(zip(self.names, self.masks, strict=True))), (images,))

    def scaled(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The BatchNorm weights multiplied by `masks`, by parameter name."""
        layers = batch_norms(self.model)
        return {f"{name}.weight": layers[name].weight * mask for name, mask in masks.items()}

    def clip(self) -> None:
        """Bring every mask back into [0, 1]."""
        for mask in self.masks:
            mask.data.clamp_(0, 1)

    def values(self) -> dict[str, PerFilter]:
        """A detached copy of the masks, by layer name."""
        return {name: mask.detach().clone() for name, mask in zip(self.names, self.masks, strict=True)}


@checked
def choose_threshold(model: nn.Module, masks: Masks, clean: ImageSet, *, allowed_drop: ranges.Fraction) -> float:
    """The largest of `THRESHOLDS` at which pruning costs at most `allowed_drop` of the accuracy on `clean`.

    Returns -1, which prunes nothing, when every threshold costs more.
    """
    lowest_accuracy = accuracy(model, clean) - allowed_drop
    for threshold in reversed(THRESHOLDS):
        if accuracy(prune(model, masks, threshold), clean) >= lowest_accuracy:
            return threshold
    return -1.0


@checked
def prune(
    model: nn.Module, masks: Masks, threshold: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
) -> nn.Module:
    """A copy of `model` in which every filter with a mask of at most `threshold` outputs its BatchNorm bias alone.

    The BatchNorm weight of such a filter is set to zero; nothing else changes. Raises KeyError for a name in `masks`
    that is not a BatchNorm layer of the model.
    """
    copy = deepcopy(model).eval()
    layers = batch_norms(copy)
    for name, mask in masks.items():
        layers[name].weight.data.mul_(mask > threshold)
    return copy
