"""Filters seen through the BatchNorm behind them: masked by a number each, and pruned for good.

A filter's mask scales the weight (gamma) of its BatchNorm channel, never the bias: a filter masked to zero gives out a
constant.
"""

from collections.abc import Mapping
from copy import deepcopy

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from bdlib.data.images import ImageSet
from bdlib.models import predict, share
from bdlib.types import Images, Logits

PerFilter = Float[Tensor, " c"]  # one number for each channel of a layer


def batch_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Every BatchNorm layer that has weights, by name, in the model's own order."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.affine}


class Masked(nn.Module):
    """`model` with a factor on every filter: `masks`, in the order of `names`, all one at the start.

    The model is not copied. Its own weights are frozen; only the masks can be trained.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        layers = batch_norms(model)
        self.names = list(layers)
        self.masks = nn.ParameterList(
            nn.Parameter(layer.weight.new_ones(len(layer.weight))) for layer in layers.values()
        )

    def forward(self, images: Images) -> Logits:
        return functional_call(self.model, self.scaled(dict(zip(self.names, self.masks, strict=True))), (images,))

    def scaled(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The BatchNorm weights under `masks`, by parameter name."""
        layers = batch_norms(self.model)
        return {f"{name}.weight": layers[name].weight * mask for name, mask in masks.items()}

    def clip(self) -> None:
        """Bring every mask back into [0, 1]."""
        for mask in self.masks:
            mask.data.clamp_(0, 1)

    def values(self) -> dict[str, PerFilter]:
        """The masks by layer name, detached."""
        return {name: mask.detach().clone() for name, mask in zip(self.names, self.masks, strict=True)}


def pruned(model: nn.Module, keep: Mapping[str, Bool[Tensor, " c"]]) -> nn.Module:
    """A copy of `model` whose filters with a false entry in `keep` give out a constant: BatchNorm weight 0, bias kept.

    Raises KeyError for a name that is no BatchNorm layer.
    """
    copy = deepcopy(model).eval()
    layers = batch_norms(copy)
    for name, kept in keep.items():
        layers[name].weight.data.mul_(kept)
    return copy


Masks = Mapping[str, PerFilter]  # a number in [0, 1] for each filter, by BatchNorm layer
THRESHOLDS = tuple(step / 20 for step in range(19))  # 0, 0.05, ..., 0.9: the sweep of both released codes


def choose_threshold(model: nn.Module, masks: Masks, clean: ImageSet, *, allowed_drop: float) -> float:
    """The largest threshold of the sweep that costs at most `allowed_drop` of accuracy on `clean`; -1 if none does."""
    threshold_rule = share(predict(model, clean) == clean.labels) - allowed_drop
    kept = (
        t
        for t in reversed(THRESHOLDS)
        if share(predict(prune(model, masks, t), clean) == clean.labels) >= threshold_rule
    )
    return next(kept, -1.0)


def prune(model: nn.Module, masks: Masks, threshold: float) -> nn.Module:
    """A copy of `model` in which filters with a mask of at most `threshold` give out their BatchNorm bias alone."""
    return pruned(model, {name: mask > threshold for name, mask in masks.items()})
