"""What units react to: their activations without and with a trigger, and whose images excite them most."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet, batches
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.models import evaluation_mode, tap
from bdlib.types import Labels, Trigger

Units = Float[Tensor, "n u"]  # a row for each image, a column for each filter or neuron


class NeuronActivation(NamedTuple):
    """The mean activation of each unit, on images and on the same images with the trigger."""

    clean: Float[Tensor, " u"]
    triggered: Float[Tensor, " u"]


@checked
@torch.no_grad()
def unit_activations(model: nn.Module, images: ImageSet, layer: str, *, inputs: bool = False) -> Units:
    """How strongly each image excites each unit of `layer`: a filter's outputs summed over pixels, or a neuron's.

    With `inputs`, it is what enters the layer. `model` is in evaluation mode meanwhile. Raises ParameterError for a
    layer that does not exist, and for one without a row for each image.

    Example: `unit_activations(model, test[:100], "layer3").shape` is (100, 128).
    """
    found = []
    with evaluation_mode(model), tap(model, layer, inputs=inputs) as tapped:
        for batch in batches(images, 500):
            model(batch.images)
            if layer not in tapped or len(tapped[layer]) != len(batch.labels) or tapped[layer].dim() < 2:
                raise ParameterError(f"layer={layer!r}: must give out a row for each image")
            maps = tapped[layer].float()
            found.append(maps.flatten(2).sum(2) if maps.dim() > 2 else maps)
    return torch.cat(found)


@checked
def neuron_activation(
    model: nn.Module, images: ImageSet, trigger: Trigger, layer: str, *, inputs: bool = False
) -> NeuronActivation:
    """The mean activation of each unit of `layer` over `images`, without and with the trigger.

    BackdoorBench (Wu et al., arXiv:2206.12654) draws both curves in the order of the first.

    Example: `(found.triggered - found.clean).abs().topk(5)` are the units that the trigger moves most.
    """
    stamped = ImageSet(apply_trigger(images.images, trigger), images.labels)
    return NeuronActivation(
        *(unit_activations(model, each, layer, inputs=inputs).mean(0) for each in (images, stamped))
    )


@checked
def most_exciting(activations: Units, unit: int, count: Annotated[int, Field(ge=1)] = 10) -> Int[Tensor, " k"]:
    """The positions of the `count` images that excite a unit most, the strongest first."""
    return activations[:, unit].topk(min(count, len(activations))).indices


@checked
def group_shares(
    activations: Units, groups: Labels, count: Annotated[int, Field(ge=1)], *, of: Sequence[int]
) -> Float[Tensor, "u g"]:
    """Who excites each unit: the share of each group among the `count` images that excite it most; rows sum to 1.

    `groups` has the group of each image, such as its class, or one more for poisoned images; `of` lists the groups.
    Where `count` is the number of all images, each unit shows the groups' shares of the whole set.

    Raises ParameterError for a count above the number of images, and for groups of another length.

    Example: `group_shares(activations, groups, 50, of=range(11))[:, 10]` is each unit's share of group 10.
    """
    if len(groups) != len(activations) or count > len(activations):
        sizes = f"{len(groups)} groups and count={count} for {len(activations)} images"
        raise ParameterError(f"groups: must be one for each image, and count at most their number, not {sizes}")
    top = groups.to(activations.device)[activations.topk(count, dim=0).indices]  # (count, units)
    return torch.stack([(top == group).float().mean(0) for group in of], dim=1)
