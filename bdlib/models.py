"""Networks, input normalisation inside them, and reading activations by layer name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bdlib.data.images import ImageSet, batches
from bdlib.types import Labels

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
Statistics = tuple[float, ...]  # one number per channel


class Normalize(nn.Module):
    """First layer of every model, so that the rest of the library only ever sees pixels in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Statistics, std: Statistics) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class PreActBlock(nn.Module):
    """Basic residual block that normalises before it convolves. He et al. 2016, arXiv:1603.05027."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3, 1)
        changes = stride != 1 or inputs != outputs
        self.shortcut = convolution(inputs, outputs, 1, stride) if changes else None

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(self.bn1(features))
        kept = features if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(F.relu(self.bn2(self.conv1(active))))


class SmallBlock(nn.Module):
    """Two convolutions, each followed by BatchNorm, and an identity or average-pooled shortcut.

    Every filter has its own BatchNorm behind it, so that a filter can be masked by one number.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = convolution(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(features)
        inner = F.relu(self.bn1(self.conv1(active)))
        return self.shortcut(active) + self.bn2(self.conv2(inner))


def small_resnet(channels: int, num_classes: int, mean: Statistics, std: Statistics) -> nn.Module:
    """Residual network for laptops: 0.3 M parameters, stages `layer1` to `layer3` of 32, 64 and 128 filters.

    A stride-2 stem makes the stages' grids 14, 7 and 4 pixels wide on a 28-pixel image. The stages give out signed
    values: the activation stands at the head of the next block.
    """
    net = stages(SmallBlock, channels, mean, std, stem_width=32, stem_stride=2,
                 widths=(32, 64, 128), strides=(1, 2, 2), blocks=1)  # fmt: skip
    net.add_module("relu", nn.ReLU())
    return initialize(add_head(net, 128, num_classes))


def wrn_16_1(channels: int, num_classes: int, mean: Statistics, std: Statistics) -> nn.Module:
    """Wide residual network of depth 16 and width 1, NAD's own. Zagoruyko & Komodakis 2016, arXiv:1605.07146.

    Stages `layer1` to `layer3` of 16, 32 and 64 channels: grids of 32, 16 and 8 pixels on 32-pixel images.
    """
    net = stages(PreActBlock, channels, mean, std, stem_width=16, stem_stride=1,
                 widths=(16, 32, 64), strides=(1, 2, 2), blocks=2)  # fmt: skip
    net.add_module("bn", nn.BatchNorm2d(64))
    net.add_module("relu", nn.ReLU())
    return initialize(add_head(net, 64, num_classes))


def preact_resnet18(channels: int, num_classes: int, mean: Statistics, std: Statistics) -> nn.Module:
    """Pre-activation ResNet-18 for 32-pixel images, stages `layer1` to `layer4`. He et al. 2016."""
    net = stages(PreActBlock, channels, mean, std, stem_width=64, stem_stride=1,
                 widths=(64, 128, 256, 512), strides=(1, 2, 2, 2), blocks=2)  # fmt: skip
    net.add_module("bn", nn.BatchNorm2d(512))
    net.add_module("relu", nn.ReLU())
    return initialize(add_head(net, 512, num_classes))


def resnet18(channels: int, num_classes: int, mean: Statistics, std: Statistics) -> nn.Module:
    """torchvision's ResNet-18 with the usual stem for 32-pixel images: one 3x3 convolution, no pooling."""
    from bdlib.data._torchvision import torchvision

    net = torchvision.models.resnet18(num_classes=num_classes)
    net.conv1, net.maxpool = convolution(channels, 64, 3, 1), nn.Identity()
    return initialize(normalized(net, mean, std))


def vgg19_bn(channels: int, num_classes: int, mean: Statistics, std: Statistics) -> nn.Module:
    """torchvision's VGG-19 with BatchNorm and a single linear layer behind the pooled features."""
    from bdlib.data._torchvision import torchvision

    net = torchvision.models.vgg19_bn(num_classes=num_classes)
    net.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, num_classes)
    return initialize(normalized(net, mean, std))


MODELS: dict[str, Callable[[int, int, Statistics, Statistics], nn.Module]] = {
    "small_resnet": small_resnet,
    "preact_resnet18": preact_resnet18,
    "resnet18": resnet18,
    "wrn_16_1": wrn_16_1,
    "vgg19_bn": vgg19_bn,
}


@contextmanager
def tap(model: nn.Module, *layers: str) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the named `layers` during the forward passes inside the block.

    Raises AttributeError for a layer that does not exist: layers are named, never counted.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: seen.update({name: output})

    modules = [model.get_submodule(name) for name in layers]
    handles = [module.register_forward_hook(keep(name)) for name, module in zip(layers, modules, strict=True)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def stages(
    block: Callable[[int, int, int], nn.Module],
    channels: int,
    mean: Statistics,
    std: Statistics,
    *,
    stem_width: int,
    stem_stride: int,
    widths: tuple[int, ...],
    strides: tuple[int, ...],
    blocks: int,
) -> nn.Sequential:
    """Normalisation, one stem convolution, and stages `layer1`, `layer2`, ... of residual blocks."""
    net = nn.Sequential()
    net.add_module("normalize", Normalize(mean, std))
    net.add_module("stem", convolution(channels, stem_width, 3, stem_stride))
    inputs = stem_width
    for number, (width, stride) in enumerate(zip(widths, strides, strict=True), 1):
        first, *others = [block(inputs, width, stride)] + [block(width, width, 1) for _ in range(blocks - 1)]
        net.add_module(f"layer{number}", nn.Sequential(first, *others))
        inputs = width
    return net


def add_head(net: nn.Sequential, width: int, num_classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer, named `head`."""
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(width, num_classes))
    return net


def normalized(net: nn.Module, mean: Statistics, std: Statistics) -> nn.Module:
    """`net` behind a normalisation layer; its own layers keep their names."""
    normalize = Normalize(mean, std)
    net.add_module("normalize", normalize)
    net.register_forward_pre_hook(normalize_inputs)
    return net


def normalize_inputs(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """The forward hook that puts `module.normalize` in front of everything else."""
    return module.get_submodule("normalize")(inputs[0])


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    """A convolution without bias that keeps the grid, but for its stride."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def initialize(net: nn.Module) -> nn.Module:
    """He-normal convolutions (fan out); BatchNorm and linear layers keep torch's own initial values."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def seeded(build: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """Build a model with initial weights drawn from `seed`, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Generator().manual_seed(seed).initial_seed())
        return build()


@torch.inference_mode()
def predict(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> Labels:
    """Predicted class of every image. The model is put in evaluation mode for it, then back."""
    was_training = model.training
    model.eval()
    guesses = torch.cat([model(batch.images).argmax(1) for batch in batches(data, batch_size)])
    model.train(was_training)
    return guesses


def share(hits: Tensor) -> float:
    """The share of true values, in double precision; nan when there are none to count."""
    return hits.double().mean().item()


def accuracy(model: nn.Module, data: ImageSet) -> float:
    """The share of `data` that the model classifies as labeled, in [0, 1]."""
    return share(predict(model, data) == data.labels)
