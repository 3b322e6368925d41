"""The polarizer, one linear layer inserted into a frozen network, and the network around it.

Zhu et al., NeurIPS 2023, arXiv:2306.16697. The layer and its initial values are those of the authors' released code.
"""

from copy import deepcopy

from jaxtyping import Float
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.models import default_layers, require_maps
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
    """A frozen `model` with a `polarizer` that filters everything that enters the model's `layer`.

    It owns both and predicts by itself. The filter is attached only during a forward pass. So a copy filters with its
    own polarizer, no polarizer is ever attached twice, and `model` alone is still the network that was given.
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
        """Training mode reaches only the polarizer, and only during warm-up: the network's statistics stay."""
        super().train(False)
        self.polarizer.train(mode and self.warming_up)
        return self


def filtered_layer(model: nn.Module, clean: ImageSet, layer: str | None) -> tuple[str, int]:
    """The layer whose input is filtered, `layer` or the network's own default, and how many channels enter it.

    Raises ParameterError for a layer that does not exist or takes no feature maps, and when None is named and the
    network has no default.
    """
    if layer is None:
        (layer,) = default_layers(model, "polarizer", parameter="layer")
    return layer, require_maps(model, clean.images, layer, inputs=True, parameter="layer")[0][1]


@checked
def insert(model: nn.Module, clean: ImageSet, *, layer: str | None = None) -> Polarized:
    """A frozen copy of `model` with a new polarizer at the input of `layer`, or of the network's own default layer.

    An image of `clean` tells how many channels enter the layer. Raises what `filtered_layer` raises.
    """
    layer, width = filtered_layer(model, clean, layer)
    copy = deepcopy(model).requires_grad_(False).eval()
    polarizer = Polarizer(width)
    like = next(copy.parameters(), polarizer.conv.weight)  # has the network's device and precision
    return Polarized(copy, layer, polarizer.to(like))
