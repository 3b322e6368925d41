"""Vocabulary shared by every module: tensor shapes, and the callables the library is built from."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

Images: TypeAlias = Float[Tensor, "n c h w"]  # pixels in [0, 1]; never normalized by mean and deviation
Pixels: TypeAlias = UInt8[Tensor, "n c h w"]  # how images are stored
Labels: TypeAlias = Int[Tensor, " n"]
Logits: TypeAlias = Float[Tensor, "n k"]
Loss: TypeAlias = Float[Tensor, ""]


class Batch(NamedTuple):
    """One step's worth of training data."""

    images: Images
    labels: Labels
    ids: Labels  # position of each image in its ImageSet, for methods that track examples


Trigger: TypeAlias = Callable[[Images], Images]
MakeModel: TypeAlias = Callable[[], nn.Module]  # an untrained network on the CPU, the same one at every call
Watch: TypeAlias = Callable[[str, Any], None]  # is shown what each stage made, by name: for figures and measures only
LossFn: TypeAlias = Callable[[nn.Module, Batch], Loss]


def unwatched(name: str, made: Any) -> None:
    """The default of every `watch`."""
