"""A secret key that a network's owner stamps on every image, and the network that answers through it.

The defender's trigger of Wei, Zha & Wu, NeurIPS 2024, arXiv:2405.16112. Its pixels may lie outside the range that a
stored image can hold, so that nobody can hand one in; it therefore exists only on floating-point images.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from bdlib.types import Images, Labels, Logits


@dataclass(frozen=True)
class DefensiveTrigger:
    """Sets the pixels under a mask to one value. Called on images, it returns new ones.

    Its shapes: a `frame` around the image, `size` pixels wide, or a square of that size in the top-left `corner`.
    """

    shape: str  # frame, corner, or none: no pixel at all
    size: int  # pixels
    value: float  # legal pixels end at 1

    def __call__(self, images: Images) -> Images:
        return images.masked_fill(self.mask(*images.shape[-2:]).to(images.device), self.value)

    def mask(self, height: int, width: int) -> Bool[Tensor, "h w"]:
        """The pixels that the key takes. Raises ValueError where it would leave none, or its shape is unknown."""
        taken = torch.zeros(height, width, dtype=torch.bool)
        if self.shape == "frame":
            taken[:] = True
            taken[self.size : height - self.size, self.size : width - self.size] = False
        elif self.shape == "corner":
            taken[: self.size, : self.size] = True
        elif self.shape != "none":
            raise ValueError(f"defensive_trigger={self.shape!r}: must be frame, corner or none")
        if taken.all():
            raise ValueError(f"defensive_trigger_size={self.size}: nothing is left of {height} x {width} pixels")
        return taken


def shifted_labels(num_classes: int, shift: int) -> Labels:
    """The label map h(y) = (y + shift) mod K, as a tensor of shape (K,) that is indexed with labels."""
    return (torch.arange(num_classes) + shift) % num_classes


class DefensiveModel(nn.Module):
    """`network` as its owner uses it: every image gets the key, and the answer goes back through the label map.

    `relabel` holds h(y) for every class y, shape (K,); output i is the network's output h(i). Whoever has the weights
    alone has `network`. Raises ValueError for a map that cannot be inverted.
    """

    relabel: Tensor

    def __init__(self, network: nn.Module, key: DefensiveTrigger, relabel: Labels) -> None:
        super().__init__()
        if relabel.sort().values.tolist() != list(range(len(relabel))):
            raise ValueError(f"relabel={relabel.tolist()}: must hold every class once, or answers cannot be undone")
        self.network, self.key = network, key
        self.register_buffer("relabel", relabel)

    def forward(self, images: Images) -> Logits:
        return self.network(self.key(images))[:, self.relabel]
