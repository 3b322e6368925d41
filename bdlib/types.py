"""Vocabulary shared by every module: tensor shapes, and the callables the library is built from."""

from collections import Counter
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
Relabel: TypeAlias = Callable[[Labels], Labels]  # the label that an attack wants in place of each true one
LossFn: TypeAlias = Callable[[nn.Module, Batch], Loss]
MakeModel: TypeAlias = Callable[[], nn.Module]  # an untrained network on the CPU, the same one at every call
OnEvent: TypeAlias = Callable[[str, Any], None]  # is told the name of what happened and what it made; changes nothing


def ignore(name: str, value: Any) -> None:
    """The default of every `on_event`."""


class EventLog(dict[str, Any]):
    """An `on_event` that remembers: the last value of every event by its name, and in `counts` how often it came."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __call__(self, name: str, value: Any) -> None:
        self[name] = value
        self.counts[name] += 1
