"""Vocabulary shared by every module: tensor shapes, and the callables the library is built from."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias

from jaxtyping import Float, Int, UInt8
from pydantic import AfterValidator, Field
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


def _no_network(value: Any) -> Any:
    """A range: every function but a network, which can be called too."""
    if isinstance(value, nn.Module):
        raise ValueError(value)
    return value


Trigger: TypeAlias = Annotated[Callable[[Images], Images], Field(description="a function of images in [0, 1]")]
# The label that an attack wants in place of each true one.
Relabel: TypeAlias = Annotated[
    Callable[[Labels], Labels], AfterValidator(_no_network), Field(description="a function of labels")
]
LossFn: TypeAlias = Callable[[nn.Module, Batch], Loss]
# An untrained network on the CPU, the same one at every call.
MakeModel: TypeAlias = Annotated[
    Callable[[], nn.Module],
    AfterValidator(_no_network),
    Field(description="a function without arguments that returns an untrained network"),
]
MovedModel: TypeAlias = Annotated[nn.Module, "is moved to the device of the data"]
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
