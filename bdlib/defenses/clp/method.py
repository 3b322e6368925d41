"""Channel-Lipschitzness-based pruning (CLP). Zheng, Tang, Li and Liu, ECCV 2022, arXiv:2208.03111.

A channel that a trigger moves far must be able to react strongly to some input. How strongly it can react is bounded by
its weights alone: the upper bound of the channel's Lipschitz constant (UCLC). In each layer, channels whose bound is an
outlier are silenced. No image is needed, and nothing is trained.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked, needs
from bdlib.defenses.clp.pairs import pairs_of
from bdlib.training.filter_masks import PerFilter, batch_norms
from bdlib.types import OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
Channels = Bool[Tensor, " c"]  # true for the channels that are meant
Deviations = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def require_pairs(model: nn.Module, variant: ranges.Variant = "paper") -> None:
    """Raise ParameterError for a network without a BatchNorm2d layer that follows a convolution."""
    if not batch_norms(model) or not pairs_of(model, variant):
        raise ParameterError(f"model: needs BatchNorm2d layers behind convolutions, {type(model).__name__} has none")


@checked
@needs(require_pairs)
def clp(
    model: nn.Module,
    *,
    threshold_deviations: Deviations = 3.0,  # u, standard deviations above the layer's mean; paper and released code
    variant: ranges.Variant = "paper",  # released: pairs layers in the order in which they were registered
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A copy of `model` without its outlying channels; no other weight changes. It takes no images and no seed.

    Example::

        pruned = clp(victim, threshold_deviations=3.0)

    `variant="released"` takes each BatchNorm layer for the one behind the convolution that was registered last, which
    is wrong in pre-activation networks, and leaves out BatchNorm's own epsilon. `on_event` is told "bounds" (by
    BatchNorm layer) and "pruned" (booleans, likewise). In a layer of ten channels or fewer, no bound can be three
    deviations above the mean. Raises ParameterError for a keyword out of range, and for a network without BatchNorm2d
    layers behind convolutions.
    """
    bounds = lipschitz_bounds(model, variant=variant)
    on_event("bounds", bounds)
    pruned = outliers(bounds, threshold_deviations)
    on_event("pruned", pruned)
    return silence(model, pruned)


def lipschitz_bounds(model: nn.Module, *, variant: ranges.Variant = "paper") -> dict[str, PerFilter]:
    """The bound of each channel, in double precision, by the BatchNorm layer that scales it.

    It is the spectral norm of the channel's kernel, as a matrix with a row for each input channel, times the size of
    BatchNorm's slope. What layers before do is common to all channels of a layer, and left out. Raises ParameterError
    for weights that are not finite.
    """
    bounds = {}
    for norm_name, convolution_name in pairs_of(model, variant).items():
        norm, convolution = model.get_submodule(norm_name), model.get_submodule(convolution_name)
        kernels = convolution.weight.detach()[: len(norm.weight)].double()  # type: ignore[operator, arg-type]
        epsilon = 0.0 if variant == "released" else norm.eps
        slopes = norm.weight.detach().double() / (norm.running_var.double() + epsilon).sqrt()  # type: ignore[union-attr, operator]
        if not (kernels.isfinite().all() and norm.weight.isfinite().all()):  # type: ignore[operator]
            raise ParameterError(f"model: the weights of {convolution_name} or {norm_name} are not finite")
        bounds[norm_name] = torch.linalg.matrix_norm(kernels.flatten(2), ord=2) * slopes.abs()
    return bounds


def outliers(bounds: Mapping[str, PerFilter], threshold_deviations: float) -> dict[str, Channels]:
    """The channels whose bound is more than so many standard deviations above the mean of its layer, by layer."""
    return {
        name: values > values.mean() + threshold_deviations * values.std() if len(values) > 1 else values < 0
        for name, values in bounds.items()
    }


def silence(model: nn.Module, pruned: Mapping[str, Channels]) -> nn.Module:
    """A copy of `model` in which the BatchNorm layers put out 0 for the `pruned` channels, whatever comes in."""
    copy = deepcopy(model).eval()
    layers = batch_norms(copy)
    for name, channels in pruned.items():
        layers[name].weight.data[channels] = 0
        layers[name].bias.data[channels] = 0
    return copy
