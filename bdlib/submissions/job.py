"""What all jobs of a stranger's process have in common: sets from tensors, networks that are checked, logits."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.data.fit import evaluation_mode, probe, require_rows
from bdlib.data.images import ImageSet, batches
from bdlib.runtime import best_device
from bdlib.submissions.messages import Message
from bdlib.words import shown

Told = dict[str, Any]
Answer = tuple[Told, dict[str, Tensor]]
BATCH = 500  # images of one forward pass


class Refusal(Exception):
    """What a function returned, or how it is made, is not what it must be; the words follow its name."""


class Job(Protocol):
    """One of `JOBS`, made from the facts and the tensors of its message; `progress` is told a line now and then."""

    def begin(self, module: ModuleType, function: str) -> Told: ...
    def answer(self, question: Message) -> Answer: ...


def image_set(tensors: Mapping[str, Tensor], name: str) -> ImageSet:
    """The set of images that a message holds under a name, on the device that trains."""
    return ImageSet(tensors[f"{name}.images"], tensors[f"{name}.labels"]).to(best_device())


def function_in(module: ModuleType, name: str) -> Callable[..., Any]:
    """The function, as the module has it now. Raises Refusal where there is none."""
    if not callable(found := getattr(module, name, None)):
        raise Refusal(f"is {shown(found)}, not a function")
    return found


def require_network(result: Any, sample: ImageSet, classes: int) -> nn.Module:
    """`result`, if it is a network for such images. Raises Refusal, which says what it is."""
    if not isinstance(result, nn.Module):
        raise Refusal(f"returned {shown(result)}, not a network (torch.nn.Module)")
    try:
        logits = probe(result, sample.images, name="its result", data="clean")
    except ParameterError as error:
        raise Refusal(f"returned a network of no use: {error}") from error.__cause__
    if logits.shape[1] != classes:
        raise Refusal(f"returned a network of {logits.shape[1]} classes, not {classes}")
    return result


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor) -> Answer:
    """The answer to a question: the logits of stored images, in evaluation mode."""
    data = ImageSet(images, torch.zeros(len(images), dtype=torch.int64)).to(best_device())
    with evaluation_mode(network):
        parts = [require_rows(network(b.images), len(b.labels), name="its result") for b in batches(data, BATCH)]
    return {"is": "answer"}, {"answer": torch.cat(parts).float().cpu()}
