"""How much of a backdoor is left inside: the backdoor existence coefficient, by centered kernel alignment."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet, batches
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.models import evaluation_mode, tap
from bdlib.types import Trigger

Rows = Float[Tensor, "n _"]
Channels = dict[str, Int[Tensor, " c"]]  # the positions of some channels, by layer


@checked
def linear_cka(one: Rows, other: Float[Tensor, "m _"]) -> float:
    """Linear centered kernel alignment of two descriptions of the same images, in [0, 1]; 1 where they are alike.

    Kornblith et al., ICML 2019, arXiv:1905.00414. Turning or scaling either changes nothing. nan where one is constant.
    Raises ParameterError for different numbers of images.

    Example: `linear_cka(features_of_victim, features_of_repaired)`
    """
    if len(one) != len(other):
        raise ParameterError(f"other: must have a row for each of the {len(one)} images, not {len(other)}")
    kernels = []
    for rows in (one, other):
        centered = rows.double() - rows.double().mean(0)
        kernels.append(centered @ centered.T)
    shared, own = (kernels[0] * kernels[1]).sum(), [(kernel * kernel).sum().sqrt() for kernel in kernels]
    return (shared / (own[0] * own[1])).item() if min(own) > 0 else float("nan")


@checked
def backdoor_existence(
    victim: nn.Module,
    model: nn.Module,
    twin: nn.Module,
    images: ImageSet,
    trigger: Trigger,
    *,
    share: ranges.PositiveFraction = 0.1,
) -> float:
    """The backdoor existence coefficient of `model`: 1 if it is like the `victim` inside, 0 if like the clean `twin`.

    In each convolution but the first and the shortcuts', the `share` of channels that the trigger moves most in the
    victim are compared on the triggered `images`: S is the mean over layers of the linear CKA with the victim, and the
    coefficient is (S(model) - S(twin)) / (1 - S(twin)). It may leave [0, 1]. Zhu, Liang and Wu, NeurIPS 2024,
    arXiv:2405.16134; the released code scales it by the extremes of all defenses instead, and then it depends on which
    there are. Means are divided, not layers one by one: where twin and victim agree, a layer says nothing.

    Raises ParameterError for networks without the victim's layers. Example:
    `backdoor_existence(victim, repaired, twin, test[:300], trigger)`
    """
    layers = inner_convolutions(victim)
    chosen = _most_moved(victim, images, trigger, layers, share)
    stamped = ImageSet(apply_trigger(images.images, trigger), images.labels)
    reference = _maps(victim, stamped, chosen)
    means = []
    for other in (model, twin):
        maps = _maps(other, stamped, chosen)
        means.append(sum(linear_cka(reference[layer], maps[layer]) for layer in layers) / len(layers))
    return (means[0] - means[1]) / (1 - means[1]) if means[1] < 1 else float("nan")


def inner_convolutions(model: nn.Module) -> list[str]:
    """The names of all convolutions larger than 1x1 but the first. Raises ParameterError where there are none."""
    found = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)][1:]
    if not found:
        raise ParameterError(f"model: needs two convolutions larger than 1x1, {type(model).__name__} has fewer")
    return found


def same_layer(model: nn.Module, layer: str) -> str:
    """The layer of that name, also when `model` holds the network inside another module, as NPD's does."""
    found = [name for name, _ in model.named_modules() if f".{name}".endswith(f".{layer}")]
    if len(found) != 1:
        raise ParameterError(f"model: must have one layer {layer}, {type(model).__name__} has {len(found)}")
    return found[0]


@torch.no_grad()
def _maps(model: nn.Module, images: ImageSet, channels: Channels) -> dict[str, Rows]:
    """The chosen channels' outputs on each image, flattened, by layer."""
    names = {layer: same_layer(model, layer) for layer in channels}
    parts: dict[str, list[Tensor]] = {layer: [] for layer in channels}
    with evaluation_mode(model), tap(model, *names.values()) as tapped:
        for batch in batches(images, 250):
            model(batch.images)
            for layer, chosen in channels.items():
                parts[layer].append(tapped[names[layer]][:, chosen].flatten(1).float())
    return {layer: torch.cat(rows) for layer, rows in parts.items()}


def _most_moved(model: nn.Module, images: ImageSet, trigger: Trigger, layers: Sequence[str], share: float) -> Channels:
    """The channels whose maps the trigger changes most, by the mean length of the change; at least one a layer."""
    sums: dict[str, Tensor] = {}
    for batch in batches(images, 250):
        pixels = batch.images.mul(255).round().byte()
        pair = []
        for part in (pixels, apply_trigger(pixels, trigger)):
            with torch.no_grad(), evaluation_mode(model), tap(model, *layers) as tapped:
                model(part.float() / 255)
            pair.append(tapped)
        for layer in layers:
            moved = (pair[1][layer] - pair[0][layer]).flatten(2).norm(dim=2).sum(0)
            sums[layer] = sums.get(layer, 0) + moved
    return {layer: each.topk(max(1, int(share * len(each)))).indices for layer, each in sums.items()}
