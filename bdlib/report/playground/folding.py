"""A trained `small_resnet` as plain convolutions: each BatchNorm is folded into the convolution before it.

In evaluation mode BatchNorm scales and shifts each filter's output by fixed numbers, so the two layers together are one
convolution with a bias. Such a network needs no library: a page computes it in a few lines of script.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.models.blocks import SmallBlock

Array = NDArray[np.float64]
HALF = np.dtype("<f2")  # half precision, in the byte order that all browsers have


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution with the BatchNorm behind it, which the stem has not."""

    name: str  # the convolution's, such as "layer1.0.conv1"
    weight: Array  # (filters, inputs, size, size)
    bias: Array  # one number for each filter
    pruned: Array  # what a pruned filter gives out everywhere: the shift of its BatchNorm
    stride: int


@dataclass(frozen=True)
class FoldedNetwork:
    """A network without BatchNorm that gives the same logits in evaluation mode."""

    mean: float  # of the pixels, subtracted first
    std: float
    convolutions: list[FoldedConvolution]  # in the order of the filters' masks, after the stem
    head: Array  # (classes, features)
    head_bias: Array


def fold(model: nn.Module) -> FoldedNetwork:
    """The folded copy of a `small_resnet` for images of one channel; `model` is not changed.

    Computed in double precision. Raises ParameterError for a network of another kind.

    Example::

        folded = fold(trained_victim(VictimConfig()))
    """
    blocks = {name: block for name, block in model.named_modules() if isinstance(block, SmallBlock)}
    stem, head = getattr(model, "stem", None), getattr(model, "head", None)
    if not (blocks and isinstance(stem, nn.Conv2d) and isinstance(head, nn.Linear) and stem.in_channels == 1):
        raise ParameterError(f"model: must be a small_resnet for images of one channel, not {type(model).__name__}")
    pairs = [pair for name, block in blocks.items() for pair in _pairs(name, block)]
    convolutions = [_folded("stem", stem, None), *(_folded(*pair) for pair in pairs)]
    normalize = model.get_submodule("normalize")
    mean, std = (float(normalize.get_buffer(name).flatten()[0]) for name in ("mean", "std"))
    return FoldedNetwork(mean, std, convolutions, _double(head.weight), _double(head.bias))


def _pairs(name: str, block: SmallBlock) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """The convolutions of a block, each with its BatchNorm, in the order of the block's modules."""
    yield f"{name}.conv1", block.conv1, block.bn1
    yield f"{name}.conv2", block.conv2, block.bn2
    if isinstance(block.shortcut, nn.Sequential):
        convolution, norm = block.shortcut
        yield f"{name}.shortcut", convolution, norm  # type: ignore[misc]


def _folded(name: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> FoldedConvolution:
    weight, stride = _double(convolution.weight), convolution.stride[0]
    if norm is None:
        none = np.zeros(len(weight))
        return FoldedConvolution(name, weight, none, none, stride)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = _double(norm.weight) / np.sqrt(_double(norm.running_var) + norm.eps)
    shift = _double(norm.bias)
    bias = shift - _double(norm.running_mean) * scale
    return FoldedConvolution(name, weight * scale[:, None, None, None], bias, shift, stride)


def _double(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def packed(network: FoldedNetwork) -> dict[str, Any]:
    """The network as JSON: the shapes of its layers, and all numbers in half precision as one base64 text.

    For each layer come the weights, filter by filter with the channels last, then the biases, then what pruned filters
    give out; at the end the head's weights and biases. Raises ParameterError for a number that half precision does not
    hold (above 65,504).
    """
    layers, numbers = [], []
    for layer in network.convolutions:
        outputs, inputs, size, _ = layer.weight.shape
        layers.append({"name": layer.name, "inputs": inputs, "outputs": outputs, "size": size, "stride": layer.stride})
        numbers += [layer.weight.transpose(0, 2, 3, 1), layer.bias, layer.pruned]
    flat = np.concatenate([part.ravel() for part in [*numbers, network.head, network.head_bias]])
    if not np.abs(flat).max() <= np.finfo(HALF).max:
        raise ParameterError(f"model: holds {np.abs(flat).max():g}, which is too large for half precision")
    weights = base64.b64encode(flat.astype(HALF).tobytes()).decode()
    return {"mean": network.mean, "std": network.std, "layers": layers, "classes": len(network.head),
            "weights": weights}  # fmt: skip
