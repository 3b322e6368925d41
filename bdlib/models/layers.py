"""The layers of a network by their names: found, read, and chosen by the network itself where the caller names none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.data.fit import probe, require_rows
from bdlib.types import Pixels
from bdlib.words import shown


def default_layers(model: nn.Module, role: str, *, parameter: str = "layers") -> tuple[str, ...]:
    """The layers that a network has for a role, also when it is inside another module, such as a defense's wrapper.

    Roles: "attention", the layers whose outputs NAD compares; "polarizer", the one whose input NPD filters; "head", the
    linear layer that gives the logits, which AR regularizes and whose input fine-pruning prunes. Raises ParameterError
    for a network that has none; `parameter` is the keyword that was left out.

    Example::

        layers = layers or default_layers(model, "attention")
    """
    for name, module in model.named_modules():
        if layers := getattr(module, "default_layers", {}).get(role):
            return tuple(f"{name}.{layer}".lstrip(".") for layer in layers)
    raise ParameterError(f"{parameter}=None: must be named for a network without a default; it has {_beside(model)}")


def find_layer(model: nn.Module, layer: str, *, parameter: str = "layers") -> nn.Module:
    """The module called `layer`: layers are named, never counted.

    Raises ParameterError when there is none, with the names beside it; `parameter` is the keyword that named it.
    """
    try:
        return model.get_submodule(layer)
    except AttributeError:
        raise ParameterError(f"{parameter}={layer!r}: must be a layer; there are {_beside(model, layer)}") from None


def readout_of(model: nn.Module) -> str:
    """The name of the last linear layer, which reads the features of an image. ParameterError where there is none."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ParameterError(f"model: needs a linear layer (torch.nn.Linear), {type(model).__name__} has none")
    return linear[-1]


def require_convolution(model: nn.Module) -> None:
    """Raise ParameterError for a network without convolutions."""
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        raise ParameterError(f"model: needs a convolution (torch.nn.Conv2d), {type(model).__name__} has none")


def require_maps(
    model: nn.Module, images: Pixels, *layers: str, inputs: bool = False, parameter: str = "layers"
) -> list[tuple[int, ...]]:
    """The shapes (n, c, h, w) of what each of `layers` gives out, or with `inputs` takes, for two of the images.

    Raises ParameterError, with `parameter` as the keyword that named them, for a layer that does not exist or has no
    part in the forward pass, and for one whose activations are no feature maps, such as a transformer's tokens.
    """
    for layer in layers:
        find_layer(model, layer, parameter=parameter)
    with torch.no_grad(), tap(model, *layers, inputs=inputs) as tapped:
        probe(model, images)
    verb = "take" if inputs else "give out"
    for layer in layers:
        if layer not in tapped:
            raise ParameterError(f"{parameter}={layer!r}: must be a layer that takes part in the forward pass")
        if not isinstance(tapped[layer], Tensor) or tapped[layer].dim() != 4:
            maps = f"must {verb} maps of shape (n, c, h, w)"
            raise ParameterError(f"{parameter}={layer!r}: {maps}, not {shown(tapped[layer])}")
    return [tuple(tapped[layer].shape) for layer in layers]


def _beside(model: nn.Module, layer: str = "") -> str:
    """The layers inside the last part of the path `layer` that exists and holds any."""
    inside = {name: [child for child, _ in module.named_children()] for name, module in model.named_modules()}
    while layer and not inside.get(layer):
        layer = layer.rpartition(".")[0]
    return ", ".join(f"{layer}.{child}".lstrip(".") for child in inside[layer])


def _same_rows(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    """A forward hook: ParameterError where what comes out is not a row for each image."""
    if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
        require_rows(output, len(inputs[0]))


@contextmanager
def tap(model: nn.Module, *layers: str, inputs: bool = False) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the named `layers` inside the block; each forward pass replaces those of the one before.

    With `inputs`, it is what enters the layers. Raises ParameterError for a layer that does not exist.

    Example::

        with torch.no_grad(), tap(model, "layer3") as outputs:
            model(images)
        outputs["layer3"].shape  # (n, c, h, w)
    """
    tapped: dict[str, Tensor] = {}
    modules = {name: find_layer(model, name) for name in layers}
    handles = [
        module.register_forward_hook(lambda _, args, out, name=name: tapped.update({name: args[0] if inputs else out}))
        for name, module in modules.items()
    ]
    handles.append(model.register_forward_hook(_same_rows))
    try:
        yield tapped
    finally:
        for handle in handles:
            handle.remove()
