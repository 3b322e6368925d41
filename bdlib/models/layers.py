"""The layers of a network by their names: found, read, and chosen by the network itself where the caller names none."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bdlib.checks import ParameterError


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
    """The name of the last linear layer, which reads the features of an image."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def _beside(model: nn.Module, layer: str = "") -> str:
    """The layers inside the last part of the path `layer` that exists and holds any."""
    inside = {name: [child for child, _ in module.named_children()] for name, module in model.named_modules()}
    while layer and not inside.get(layer):
        layer = layer.rpartition(".")[0]
    return ", ".join(f"{layer}.{child}".lstrip(".") for child in inside[layer])


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
    try:
        yield tapped
    finally:
        for handle in handles:
            handle.remove()
