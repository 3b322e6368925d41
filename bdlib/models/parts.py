"""What all networks are made with: normalization inside, the layers that methods use by default, initial weights."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from bdlib.checks import ParameterError

Statistics = Sequence[Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]]  # one number per channel
Channels = Annotated[int, Field(ge=1, le=1000)]
Classes = Annotated[int, Field(ge=2, le=100_000)]


class Normalize(nn.Module):
    """First layer of every model, so that the rest of the library only ever sees pixels in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Statistics, std: Statistics) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-3] != len(self.mean):  # else one channel would be broadcast to three without a word
            raise ParameterError(f"images: the network takes {len(self.mean)} channels, not {images.shape[-3]}")
        return (images - self.mean) / self.std


def statistics_for(channels: int, mean: Statistics, std: Statistics) -> None:
    """Raise ParameterError unless there are as many means and deviations as channels, and no deviation is 0."""
    if not len(mean) == len(std) == channels:
        raise ParameterError(f"mean={mean}, std={std}: must have {channels} numbers each, one for each channel")
    if min(std) <= 0:
        raise ParameterError(f"std={std}: must be above 0")


def with_defaults(net: nn.Module, **layers: str | tuple[str, ...]) -> nn.Module:
    """`net` with the layers that methods use by default, for each role that `default_layers` lists; copies keep them.

    NAD: the paper's (WRN-16-1) and BackdoorBox's (ResNet-18). NPD: its released code's (PreAct-ResNet18). The other
    networks have the layers at the same places. No paper or released code names layers of VGG-19 for either;
    those of the small VGG and of the transformer are ours.
    """
    names = {role: (layer,) if isinstance(layer, str) else layer for role, layer in layers.items()}
    net.default_layers = names  # type: ignore[assignment]
    return net


def normalized(net: nn.Module, mean: Statistics, std: Statistics) -> nn.Module:
    """`net` behind a normalization layer; its own layers keep their names."""
    normalize = Normalize(mean, std)
    net.add_module("normalize", normalize)
    net.register_forward_pre_hook(_normalize_inputs)
    return net


def _normalize_inputs(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """The forward hook that puts `module.normalize` in front of everything else."""
    return module.get_submodule("normalize")(inputs[0])


def initialize(net: nn.Module) -> nn.Module:
    """He-normal convolutions (fan out); BatchNorm and linear layers keep torch's own initial values."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
