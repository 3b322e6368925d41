"""The defensive trigger that a network's owner puts on every image, and the network that answers through it.

Wei, Zha & Wu, NeurIPS 2024, arXiv:2405.16112. The trigger's pixels may be outside the range of a stored image, so that
nobody else can submit an image with it. It therefore exists only on floating-point images.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn

from bdlib.checks import CheckedFields, ParameterError
from bdlib.types import Images, Labels, Logits

Shape = Literal["none", "frame", "corner"]


@dataclass(frozen=True)
class DefensiveTrigger(CheckedFields):
    """Sets the pixels under a mask to one value. Called on images, it returns new ones.

    triggered = DefensiveTrigger("frame", size=1, value=2.0)(images)
    """

    shape: Shape  # a frame around the image, a square in its top-left corner, or no pixel at all
    size: Annotated[int, Field(ge=0, le=64)]  # pixels: the frame's width, the square's side
    value: Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]  # pixels of images end at 1

    def __call__(self, images: Images) -> Images:
        return images.masked_fill(self.mask(*images.shape[-2:]).to(images.device), self.value)

    def mask(self, height: int, width: int) -> Bool[Tensor, "h w"]:
        """The pixels that are set. Raises ParameterError if these are all pixels."""
        pixels = torch.zeros(height, width, dtype=torch.bool)
        if self.shape == "frame":
            pixels[:] = True
            pixels[self.size : height - self.size, self.size : width - self.size] = False
        elif self.shape == "corner":
            pixels[: self.size, : self.size] = True
        if pixels.all():
            raise ParameterError(f"defensive_trigger_size={self.size}: nothing is left of {height} x {width} pixels")
        return pixels


def shifted_labels(num_classes: int, shift: int) -> Labels:
    """The label map h(y) = (y + shift) mod K, as a tensor of shape (K,) that is indexed with labels."""
    return (torch.arange(num_classes) + shift) % num_classes


class DefensiveModel(nn.Module):
    """`network` as its owner uses it: every image gets the trigger, and the answer is mapped back to the true labels.

    `relabel` holds h(y) for every class y, shape (K,); output i is the network's output h(i). Who has the weights alone
    has `network`. Raises ParameterError for a map that cannot be inverted.
    """

    relabel: Tensor

    def __init__(self, network: nn.Module, defensive_trigger: DefensiveTrigger, relabel: Labels) -> None:
        super().__init__()
        if relabel.sort().values.tolist() != list(range(len(relabel))):
            raise ParameterError(f"relabel={relabel.tolist()}: must hold every class once, or answers cannot be undone")
        self.network, self.defensive_trigger = network, defensive_trigger
        self.register_buffer("relabel", relabel)

    def forward(self, images: Images) -> Logits:
        return self.network(self.defensive_trigger(images))[:, self.relabel]
