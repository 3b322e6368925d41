"""The networks, with the normalization of their inputs inside, and what their layers are called."""

from collections import OrderedDict
from collections.abc import Callable

import numpy
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.models.blocks import PooledBlock, PreActBlock, SmallBlock, convolution
from bdlib.models.parts import (
    Channels,
    Classes,
    Normalize,
    Statistics,
    initialize,
    normalized,
    statistics_for,
    with_defaults,
)
from bdlib.models.transformer import MeanToken, Patches, TransformerBlock
from bdlib.types import MakeModel


@checked
@needs(statistics_for)
def small_resnet(
    channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics, *, width: ranges.Count = 32
) -> nn.Module:
    """Residual network for laptops: 0.3 M parameters, stages `layer1` to `layer3` of 32, 64 and 128 filters.

    `width` is the number of filters of the stem and of `layer1`. A stride-2 stem makes the stages' grids 14, 7 and 4
    pixels wide on a 28-pixel image. The stages give out signed values: the next block begins with the activation.
    """
    net = _residual(SmallBlock, channels, num_classes, mean, std, stem=(width, 2),
                    widths=(width, 2 * width, 4 * width), strides=(1, 2, 2), blocks=1)  # fmt: skip
    return with_defaults(net, attention=("layer1", "layer2", "layer3"), polarizer="layer3.0.conv1", head="head")


@checked
@needs(statistics_for)
def wrn_16_1(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """Wide residual network of depth 16 and width 1, NAD's own. Zagoruyko & Komodakis 2016, arXiv:1605.07146.

    Stages `layer1` to `layer3` of 16, 32 and 64 channels: grids of 32, 16 and 8 pixels on 32-pixel images.
    """
    net = _residual(PreActBlock, channels, num_classes, mean, std, stem=(16, 1),
                    widths=(16, 32, 64), strides=(1, 2, 2), blocks=2)  # fmt: skip
    return with_defaults(net, attention=("layer1", "layer2", "layer3"), polarizer="layer3.1.conv1", head="head")


@checked
@needs(statistics_for)
def preact_resnet18(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """Pre-activation ResNet-18 for 32-pixel images, stages `layer1` to `layer4`. He et al. 2016, arXiv:1603.05027."""
    net = _residual(PreActBlock, channels, num_classes, mean, std, stem=(64, 1),
                    widths=(64, 128, 256, 512), strides=(1, 2, 2, 2), blocks=2)  # fmt: skip
    return with_defaults(net, attention=("layer2", "layer3", "layer4"), polarizer="layer4.1.conv1", head="head")


@checked
@needs(statistics_for)
def narrow_preact_resnet18(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """PreAct-ResNet-18 for two CPU cores: 1.0 M parameters, the same layers by the same names, few filters.

    Stages `layer1` to `layer4` of 32, 64, 96 and 128 filters; their grids are 15, 7, 3 and 3 pixels wide on 32-pixel
    images, since grids halve by max-pooling. The stem's filters begin as the sums and differences of 2x2 pixels and of
    the channels, with both signs: BatchNorm, which comes next, gives each the same variance.
    """
    net = _residual(PooledBlock, channels, num_classes, mean, std, stem=(8 * channels, 1),
                    widths=(32, 64, 96, 128), strides=(2, 2, 2, 1), blocks=2)  # fmt: skip
    net.stem = nn.Conv2d(channels, 8 * channels, 2, bias=False)
    basis = cosine_patches(channels, 2)
    net.stem.weight.data.copy_(torch.cat([basis, -basis]))
    return with_defaults(net, attention=("layer2", "layer3", "layer4"), polarizer="layer4.1.conv1", head="head")


@checked
def cosine_patches(channels: Channels, size: ranges.Count) -> Float[Tensor, "filters channels size size"]:
    """An orthonormal basis of patches of `size` pixels: products of cosines along rows, columns and channels.

    It is close to the principal axes of natural images, and needs no images.

    Example: `cosine_patches(3, 2)` has 12 filters of shape (3, 2, 2).
    """
    from scipy.fft import dct  # the discrete cosine transform

    grid, depth = (torch.tensor(dct(numpy.eye(length), axis=0, norm="ortho")) for length in (size, channels))
    patches = torch.einsum("ai,bj,ck->abckij", grid, grid, depth)
    return patches.reshape(-1, channels, size, size).float()


@checked
@needs(statistics_for)
def resnet18(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """torchvision's ResNet-18 with the usual stem for 32-pixel images: one 3x3 convolution, no pooling."""
    from bdlib.data._torchvision import torchvision

    net = torchvision.models.resnet18(num_classes=num_classes)
    net.conv1, net.maxpool = convolution(channels, 64, 3, 1), nn.Identity()
    net = initialize(normalized(net, mean, std))
    return with_defaults(net, attention=("layer2", "layer3", "layer4"), polarizer="layer4.1.conv1", head="fc")


@checked
@needs(statistics_for)
def small_vgg_bn(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """VGG for laptops, with BatchNorm and no shortcuts: 0.3 M parameters, stages `layer1` to `layer3`.

    One, two and two convolutions of 32, 64 and 128 filters, each with BatchNorm and ReLU behind it; each stage halves
    the grid at its end. Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556.
    """
    net, inputs = nn.Sequential(OrderedDict(normalize=Normalize(mean, std))), channels
    for number, (width, depth) in enumerate([(32, 1), (64, 2), (128, 2)], 1):
        stage = nn.Sequential()
        for place in range(1, depth + 1):
            stage.add_module(f"conv{place}", convolution(inputs, width, 3, 1))
            stage.add_module(f"bn{place}", nn.BatchNorm2d(width))
            stage.add_module(f"relu{place}", nn.ReLU())
            inputs = width
        stage.add_module("pool", nn.MaxPool2d(2))
        net.add_module(f"layer{number}", stage)
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(inputs, num_classes))
    return with_defaults(initialize(net), attention=("layer1", "layer2", "layer3"), polarizer="layer3.conv2",
                         head="head")  # fmt: skip


@checked
@needs(statistics_for)
def small_vit(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """Vision transformer for laptops: 0.14 M parameters, four blocks on patches of four pixels, no BatchNorm.

    Its tokens have 64 numbers. Its blocks give out tokens and no feature maps, so that NAD and NPD refuse it.
    """
    net = nn.Sequential(OrderedDict(normalize=Normalize(mean, std), patches=Patches(channels, 64, 4)))
    for number in range(1, 5):
        net.add_module(f"block{number}", TransformerBlock(64, 4))
    net.add_module("norm", nn.LayerNorm(64))
    net.add_module("pool", MeanToken())
    net.add_module("head", nn.Linear(64, num_classes))
    return with_defaults(net, attention=("block2", "block3", "block4"), polarizer="block4", head="head")


@checked
@needs(statistics_for)
def vgg19_bn(channels: Channels, num_classes: Classes, mean: Statistics, std: Statistics) -> nn.Module:
    """torchvision's VGG-19 with BatchNorm and a single linear layer behind the pooled features."""
    from bdlib.data._torchvision import torchvision

    net = torchvision.models.vgg19_bn(num_classes=num_classes)
    net.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, num_classes)
    return with_defaults(initialize(normalized(net, mean, std)), head="classifier")


MODELS: dict[str, Callable[[int, int, Statistics, Statistics], nn.Module]] = {
    "small_resnet": small_resnet,
    "narrow_preact_resnet18": narrow_preact_resnet18,
    "preact_resnet18": preact_resnet18,
    "resnet18": resnet18,
    "wrn_16_1": wrn_16_1,
    "vgg19_bn": vgg19_bn,
    "small_vgg_bn": small_vgg_bn,
    "small_vit": small_vit,
}


def _residual(
    block: type[PreActBlock | SmallBlock], channels: int, num_classes: int, mean: Statistics, std: Statistics, *,
    stem: tuple[int, int], widths: tuple[int, ...], strides: tuple[int, ...], blocks: int,
) -> nn.Sequential:  # fmt: skip
    """Normalization, the stem (width, stride), stages `layer1`, `layer2`, ... of residual blocks, and the `head`."""
    net = nn.Sequential()
    net.add_module("normalize", Normalize(mean, std))
    net.add_module("stem", convolution(channels, stem[0], 3, stem[1]))
    inputs = stem[0]
    for number, (width, stride) in enumerate(zip(widths, strides, strict=True), 1):
        shapes = [(inputs, width, stride)] + [(width, width, 1)] * (blocks - 1)
        net.add_module(f"layer{number}", nn.Sequential(*[block(*shape) for shape in shapes]))
        inputs = width
    if issubclass(block, PreActBlock):
        net.add_module("bn", nn.BatchNorm2d(inputs))
    net.add_module("relu", nn.ReLU())
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(inputs, num_classes))
    initialize(net)
    return net


@checked
def seeded(build: MakeModel, *, seed: ranges.DerivedSeed) -> nn.Module:
    """Build a model with initial weights drawn from `seed`, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Generator().manual_seed(seed).initial_seed())
        return build()
