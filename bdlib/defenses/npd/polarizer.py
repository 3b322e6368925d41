"""One linear layer set into a frozen network: the part that a neural polarizer learns, and the network around it.

Zhu et al., NeurIPS 2023, arXiv:2306.16697; layer and start as in the authors' released code.
"""

from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.types import Images, Logits

Maps = Float[Tensor, "n c h w"]  # the activations that enter one layer


class Polarizer(nn.Module):
    """A 1x1 convolution without bias and a BatchNorm, `width` channels in and out: width^2 + 2 width numbers.

    It starts as the identity, to within the BatchNorm's epsilon, and only in evaluation mode.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.utils.skip_init(nn.Conv2d, width, width, 1, bias=False)  # nothing is drawn at random
        nn.init.dirac_(self.conv.weight)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, features: Maps) -> Maps:
        return self.norm(self.conv(features))


class Polarized(nn.Module):
    """A frozen `model`, and a `polarizer` through which everything passes that enters its `layer`.

    It owns both and predicts by itself. The filter is in place only while a forward pass runs, so that copies filter
    with their own polarizer, none is ever attached twice, and `model` alone stays the network that was given.
    """

    def __init__(self, model: nn.Module, layer: str, polarizer: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.layer, self.polarizer = layer, polarizer
        self.warming_up = False  # whether training mode reaches the polarizer
        self.eval()

    def forward(self, images: Images) -> Logits:
        host = self.model.get_submodule(self.layer)
        handle = host.register_forward_pre_hook(lambda module, inputs: self.polarizer(inputs[0]))
        try:
            return self.model(images)
        finally:
            handle.remove()

    def train(self, mode: bool = True) -> "Polarized":
        """Training mode reaches the polarizer during warm-up, and nothing else ever: the network stays as it was."""
        super().train(False)
        self.polarizer.train(mode and self.warming_up)
        return self


def insert(model: nn.Module, clean: ImageSet, *, layer: str) -> Polarized:
    """A frozen copy of `model` with a new polarizer at the input of `layer`; one image of `clean` tells its width.

    Raises AttributeError for a layer that does not exist, and ValueError for one that does not take feature maps.
    """
    copy = deepcopy(model).requires_grad_(False).eval()
    shape = input_shape(copy, clean, layer)
    if len(shape) != 4:
        raise ValueError(f"layer={layer!r}: must take maps of shape (n, c, h, w), it takes {tuple(shape)}")
    return Polarized(copy, layer, Polarizer(shape[1]).to(clean.images.device))


def input_shape(model: nn.Module, clean: ImageSet, layer: str) -> torch.Size:
    """The shape of what enters `layer` for one image."""
    shapes = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    with torch.no_grad():
        model(clean.images[:1].float() / 255)
    handle.remove()
    return shapes[0]
