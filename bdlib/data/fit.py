"""What images and labels must be, and what a network must be to them: two images show it, before any compute."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.data.passes import uncounted
from bdlib.types import Images, Labels, Logits, MakeModel, MovedModel, Pixels, Relabel, Trigger
from bdlib.words import shown

MOST_CLASSES = 1_000_000


def require_pixels(images: Any) -> None:
    """Raise ParameterError, with the words that convert them, unless `images` are stored pixels."""
    rule = f"images={shown(images)}: must be a uint8 tensor of shape (n, channels, height, width)"
    _require_dense("images", images, rule)
    if images.dtype != torch.uint8:
        words = "(images * 255).round().to(torch.uint8)" if images.is_floating_point() else "images.to(torch.uint8)"
        known = "numbers in [0, 1]" if images.is_floating_point() else "whole numbers from 0 to 255"
        raise ParameterError(f"{rule}; of {known} it is {words}")
    if images.dim() == 3:
        raise ParameterError(f"{rule}; images[:, None] adds one channel")
    if images.dim() == 4 and images.shape[3] <= 4 < images.shape[1]:
        raise ParameterError(f"{rule}; images.permute(0, 3, 1, 2) puts the channels first")
    if images.dim() != 4 or 0 in images.shape[1:]:
        raise ParameterError(rule)


def require_labels(labels: Any) -> None:
    """Raise ParameterError, with the words that convert them, unless `labels` are class numbers from 0."""
    rule = f"labels={shown(labels)}: must be an int64 tensor of shape (n,)"
    _require_dense("labels", labels, rule)
    if labels.dim() != 1:
        words = "; labels.argmax(1) reads one-hot rows, labels.flatten() a column" if labels.dim() == 2 else ""
        raise ParameterError(rule + words)
    if labels.dtype != torch.int64:
        raise ParameterError(f"{rule}; labels.long() converts class numbers")
    if len(labels) and not labels.is_meta and (labels.min() < 0 or labels.max() >= MOST_CLASSES):
        span = f"{int(labels.min())} to {int(labels.max())}"
        raise ParameterError(f"labels: they are {span}; classes are counted from 0, to at most {MOST_CLASSES - 1}")


def _require_dense(name: str, value: Any, rule: str) -> None:
    if not isinstance(value, Tensor):
        raise ParameterError(f"{rule}; torch.as_tensor({name}) makes a tensor of a list or an array")
    if value.layout != torch.strided or value.is_nested:
        raise ParameterError(f"{rule}; {name}.to_dense() makes one of a sparse tensor")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside the block `model` is in evaluation mode; afterwards each of its layers has the mode that it had before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


def count_classes(images: Pixels, data: str, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, int]:
    """How many classes each network among the `arguments` of a call tells apart, also one that a factory makes.

    Raises ParameterError for a network, a factory or a trigger that does not fit the `images`, those of argument
    `data`. What they are is told by the annotations of the arguments, `hints`.
    """
    counts = dict[str, int]()
    for name, hint in hints.items():
        value = arguments.get(name)
        if hint in (Trigger, Trigger | None) and value is not None:
            triggered(images[:1], value, name=name)
        elif hint == MakeModel:
            with torch.random.fork_rng(devices=[]):
                network = _called(value, (), f"{name}: must make a network without arguments")
            if not isinstance(network, nn.Module):
                raise ParameterError(f"{name}: must return an untrained network, not {shown(network)}")
            counts[name] = probe(network, images, name=f"{name}()", data=data).shape[1]
        elif isinstance(value, nn.Module) and hint not in (Trigger, Trigger | None, nn.Module | None):
            if hint != MovedModel:
                _require_device(value, images, name, data)
            counts[name] = probe(value, images, name=name, data=data).shape[1]
    return counts


def triggered(pixels: Pixels, trigger: Trigger, *, name: str = "trigger") -> Images:
    """Images with a trigger, shape (n, c, h, w).

    Raises ParameterError unless the trigger returns numbers of the shape that it is given. What is a little outside
    [0, 1] passes, as after adding a pattern; more than 1 outside is no pixel in [0, 1], but perhaps in 0 to 255.
    """
    images = _called(trigger, (pixels.float() / 255,), f"{name}={shown(trigger)}: fails")
    require_triggered(images, pixels, name=name)
    if len(pixels) and not pixels.is_meta and not (images.min() >= -1 and images.max() <= 2):  # false for NaN
        span = f"{images.min():g} to {images.max():g}"
        raise ParameterError(f"{name}={shown(trigger)}: must return pixels in [0, 1], not {span}")
    return images


def require_triggered(images: Any, given: Tensor, *, name: str = "trigger") -> None:
    """Raise ParameterError unless a trigger has made numbers of the shape that it was given."""
    if not isinstance(images, Tensor) or images.shape != given.shape or not images.is_floating_point():
        raise ParameterError(f"{name}: must return images of shape {tuple(given.shape)} in [0, 1], not {shown(images)}")


def _called(function: Any, arguments: tuple[Any, ...], words: str) -> Any:
    """What a user's function returns; its error, in one line behind the `words`, as a ParameterError."""
    try:
        return function(*arguments)
    except ParameterError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"{words}; {type(error).__name__}: {reason}") from error


@torch.no_grad()
def probe(model: nn.Module, images: Pixels, *, name: str = "model", data: str = "data") -> Float[Tensor, "two k"]:
    """The logits of two images, or of one image twice, on the network's own device. Its mode stays as it is.

    Raises ParameterError, with `name` as the network's, unless it takes images of this shape, in float32, and gives out
    finite logits of shape (2, classes).
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        words = "whose layers and mode cannot be changed; take the torch.nn.Module of which it was made"
        raise ParameterError(f"{name}: is a TorchScript network, {words}")
    tensors = list(chain(model.parameters(), model.buffers()))
    if tensors and tensors[0].is_meta and not images.is_meta:
        raise ParameterError(f"{name}: its weights are on the meta device, which holds no numbers")
    pixels = images[:1].expand(2, -1, -1, -1).to(tensors[0].device if tensors else images.device)
    with evaluation_mode(model), uncounted():
        try:
            logits = model(pixels.float() / 255)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            shape = f"shape {tuple(images.shape[1:])}"
            raise ParameterError(f"{name}: fails on the images of {data}, {shape}; {reason}") from error
    require_rows(logits, 2, name=name)
    if logits.dtype not in (torch.float32, torch.float64):
        raise ParameterError(f"{name}: must give logits of torch.float32 or float64, not {logits.dtype}")
    if not logits.is_meta and not logits.isfinite().all():
        raise ParameterError(f"{name}: gives logits that are not finite, so its weights or its statistics are broken")
    return logits


def require_rows(logits: Any, count: int, *, name: str = "model") -> Logits:
    """The logits of `count` images. Raises ParameterError unless they are a tensor of shape (count, 2 or more).

    The probe's two images do not show what a network does with a whole batch, or with one image alone.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count or logits.shape[1] < 2:
        rule = f"{name}: must give logits of shape (n, classes)"
        raise ParameterError(f"{rule}; for {count} image{'s' * (count > 1)} it gives {shown(logits)}")
    return logits


def _require_device(model: nn.Module, images: Tensor, name: str, data_name: str) -> None:
    """Raise ParameterError for a network whose weights are on another device than the images."""
    first = next(chain(model.parameters(), model.buffers()), images)
    if first.device != images.device:
        move = f"move one of them, as {name}.to({str(images.device)!r})"
        raise ParameterError(f"{name}: is on {first.device}, but {data_name} on {images.device}; {move}")


def wanted_labels(labels: Labels, relabel: Relabel, *, classes: int | None = None) -> Labels:
    """The label that an attack wants for each image, once it is known to be one: of int64, and one of the `classes`.

    Raises ParameterError for a relabeling of another kind, or for another number of classes.
    """
    relabeled = _called(relabel, (labels,), f"relabel={shown(relabel)}: fails")
    if not isinstance(relabeled, Tensor) or relabeled.shape != labels.shape or relabeled.dtype != torch.int64:
        raise ParameterError(f"relabel: must return labels like those that it is given, not {shown(relabeled)}")
    if not len(labels) or labels.is_meta:
        return relabeled
    if relabeled.min() < 0 or (classes and relabeled.max() >= classes):
        range_ = f"from 0 to {classes - 1}" if classes else "from 0"
        raise ParameterError(f"relabel={shown(relabel)}: must return labels {range_}, not {_span(relabeled)}")
    highest = int(labels.max())
    if getattr(relabel, "target_label", 0) > highest or getattr(relabel, "num_classes", highest + 1) <= highest:
        raise ParameterError(f"relabel={shown(relabel)}: does not fit labels of which the highest is {highest}")
    return relabeled


def _span(labels: Labels) -> str:
    return f"{int(labels.min())} to {int(labels.max())}"
