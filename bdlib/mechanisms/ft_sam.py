"""What FT-SAM's paper says happens inside: the backdoor's large filters shrink, and the loss becomes flat.

Zhu et al., ICCV 2023, arXiv:2304.11823, figures 2, 4, 5 and 6, measured in the last convolution.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.func import functional_call

from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.evaluation.landscape import Shift as Shift
from bdlib.evaluation.landscape import loss_at as loss_at
from bdlib.evaluation.landscape import random_direction as random_direction
from bdlib.evaluation.trigger_analysis import rank_correlation, trigger_activated_change
from bdlib.models import tap
from bdlib.training.filter_masks import PerFilter, batch_norms
from bdlib.training.sam import perturbation
from bdlib.types import Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
IMAGES = 500  # test images that all of this is measured on
SHARE = 0.1  # of the filters: those that the trigger changes most are called the backdoor's
RADIUS = 0.25  # of the random moves, in each filter's own length
DIRECTIONS = 5  # random moves averaged over
UPHILL = 2.0  # radius of the adaptive uphill move; the paper's rho for CIFAR-10


class Filters(NamedTuple):
    """The last convolution's filters. Folded: multiplied with the BatchNorm behind, as they act on images."""

    convolution: str
    layer: str  # whose output is the folded filters': the BatchNorm's, or the convolution's where there is none
    raw_norms: PerFilter  # length of the stored weights
    norms: PerFilter  # length of the folded ones


@checked
def ft_sam(
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    *,
    target_label: TargetLabel,
) -> dict[str, float]:
    """How filters and sharpness changed: ratios of defended to victim, rank correlations, rises of the loss.

    Backdoor filters are the tenth that the trigger changes most in the victim. Without a trigger, all that needs one is
    left out.
    """
    held_out, others = first(test), first(test[test.labels != target_label])
    before, after = last_filters(model, held_out), last_filters(defended, held_out)
    measured = {
        "norm_spread_before": before.norms.std().item(),
        "norm_spread_after": after.norms.std().item(),
        "random_rise_before": random_rise(model, held_out),
        "random_rise_after": random_rise(defended, held_out),
        "uphill_rise_before": uphill_rise(model, held_out),
        "uphill_rise_after": uphill_rise(defended, held_out),
    }
    changes = trigger_activated_change(model, others, trigger, [before.convolution, before.layer])
    change = changes[before.layer]
    left = trigger_activated_change(defended, others, trigger, [after.layer])[after.layer]
    if change.max() == 0:
        return measured
    backdoor = most_changed(change)
    for name, group in (("backdoor_filters", backdoor), ("other_filters", ~backdoor)):
        measured[f"norm_ratio_{name}"] = (after.norms / before.norms)[group].mean().item()
        measured[f"raw_norm_ratio_{name}"] = (after.raw_norms / before.raw_norms)[group].mean().item()
        measured[f"change_ratio_{name}"] = (left[group].sum() / change[group].sum()).item()
    measured["norm_change_correlation"] = rank_correlation(before.norms, change)
    measured["raw_norm_change_correlation"] = rank_correlation(before.raw_norms, changes[before.convolution])
    return measured


def first(images: ImageSet, count: int = IMAGES) -> ImageSet:
    """The first `count` images, or all where there are fewer."""
    return images[:count]


def most_changed(change: PerFilter, share: float = SHARE) -> Bool[Tensor, " c"]:
    """The `share` of filters, at least one, that the trigger changes most."""
    top = change.topk(max(1, round(share * len(change)))).indices
    return torch.zeros_like(change, dtype=torch.bool).index_fill(0, top, True)


@torch.no_grad()
def last_filters(model: nn.Module, images: ImageSet) -> Filters:
    """The filters of the last convolution that is larger than 1x1, which leaves out shortcuts.

    The BatchNorm behind it is the layer that receives its output, and multiplies each filter by gain over deviation.
    Pre-activation networks have none there: the last convolution is added to its block's input.
    """
    convolutions = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    if not convolutions:
        raise ParameterError("model: its last convolution larger than 1x1 is measured, and it has none")
    name, layers = convolutions[-1], batch_norms(model)
    with tap(model, name) as outputs, tap(model, *layers, inputs=True) as entering:
        model(first(images, 1).images.float() / 255)
    raw = model.get_parameter(f"{name}.weight").flatten(1).norm(dim=1)
    behind = [key for key, tensor in entering.items() if tensor is outputs[name]]
    if not behind:
        return Filters(name, name, raw, raw)
    norm = layers[behind[0]]
    assert norm.running_var is not None
    return Filters(name, behind[0], raw, raw * norm.weight.abs() / (norm.running_var + norm.eps).sqrt())


def landscape(
    model: nn.Module, images: ImageSet, radii: Sequence[float], *, directions: int = DIRECTIONS, seed: int = 0
) -> Float[Tensor, "d r"]:
    """The loss along random directions: a row for each direction, a column for each of `radii`."""
    generator = Generator().manual_seed(seed)
    shifts = [random_direction(model, generator) for _ in range(directions)]
    return torch.tensor([[loss_at(model, images, shift, radius) for radius in radii] for shift in shifts])


def random_rise(model: nn.Module, images: ImageSet, *, radius: float = RADIUS) -> float:
    """By how much the loss rises on random moves of this radius, on average."""
    return (landscape(model, images, [radius]).mean() - loss_at(model, images, {}, 0.0)).item()


def uphill(model: nn.Module, images: ImageSet, *, rho: float = UPHILL, adaptive: bool = True) -> Shift:
    """The move that FT-SAM makes before it computes its gradient, here from all `images`."""
    weights = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    loss = F.cross_entropy(functional_call(model, weights, (images.images.float() / 255,)), images.labels)
    gradients = list(torch.autograd.grad(loss, list(weights.values())))
    shifts = perturbation([w.detach() for w in weights.values()], gradients, rho, adaptive=adaptive)
    return dict(zip(weights, shifts, strict=True))


def uphill_rise(model: nn.Module, images: ImageSet, *, rho: float = UPHILL) -> float:
    """By how much the loss rises on FT-SAM's own uphill move of radius `rho`: the sharpness that it minimizes."""
    return loss_at(model, images, uphill(model, images, rho=rho), 1.0) - loss_at(model, images, {}, 0.0)
