"""Which convolution each BatchNorm layer of a network scales: as a forward pass shows it, or in registration order."""

import torch
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError
from bdlib.data.passes import uncounted
from bdlib.models import evaluation_mode
from bdlib.training.filter_masks import batch_norms

SIZES = (32, 28, 64, 96, 128, 224, 16, 8)  # pixels of the blank images on which a network is tried
BETWEEN = (nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d)  # leave each channel to itself


def pairs_of(model: nn.Module, variant: ranges.Variant) -> dict[str, str]:
    """The convolution of each BatchNorm layer that has one, by the layer's name; "released": in registration order."""
    return registered_pairs(model) if variant == "released" else chained_pairs(model)


@torch.no_grad()
def chained_pairs(model: nn.Module) -> dict[str, str]:
    """The convolution behind which each BatchNorm layer really comes, by the name of the layer.

    The network runs once on a blank image. A layer counts if what it takes is the very tensor that the convolution
    gave, or that tensor pooled. A layer whose input is a sum with a shortcut has no convolution of its own, and a
    network whose convolutions have no BatchNorm has no pairs. Raises ParameterError where no blank image fits.

    Example: `chained_pairs(small_resnet(...))["layer1.0.bn1"]` is "layer1.0.conv1".
    """
    came_from: dict[int, tuple[str, Tensor, int]] = {}  # tensors are kept, so that no other gets the same id
    found: dict[str, set[str]] = {}

    def origin(taken: Tensor) -> str:
        name, _, version = came_from.get(id(taken), ("", taken, taken._version))
        return name if version == taken._version else ""  # else it was changed in place, as by `out += shortcut`

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], given: Tensor) -> None:
            if isinstance(module, nn.BatchNorm2d):
                found.setdefault(name, set()).add(origin(inputs[0]))
            else:
                source = name if isinstance(module, nn.Conv2d) else origin(inputs[0])
                came_from[id(given)] = (source, given, given._version)

        return module.register_forward_hook(hook)

    kinds = (nn.BatchNorm2d, nn.Conv2d, *BETWEEN)
    handles = [watch(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    try:
        _run_on_blank(model)
    finally:
        for handle in handles:
            handle.remove()
    known = {name: layer for name, layer in batch_norms(model).items() if layer.running_var is not None}
    return {
        name: min(sources)
        for name, sources in found.items()
        if name in known and len(sources) == 1 and "" not in sources
    }


def registered_pairs(model: nn.Module) -> dict[str, str]:
    """The convolution that was registered last before each BatchNorm layer, by the layer's name: the released rule.

    Raises ParameterError where there is none, or one of fewer channels: the released code ends there with an error.
    """
    pairs, last = {}, ""
    width = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            last, width = name, module.out_channels
        elif isinstance(module, nn.BatchNorm2d) and module.affine and module.running_var is not None:
            if width < module.num_features:
                before = f"{last}, with {width} channels," if last else "no convolution"
                raise ParameterError(f"model: variant='released' finds {before} before {name}")
            pairs[name] = last
    return pairs


def _run_on_blank(model: nn.Module) -> None:
    """One pass of a blank image. Raises ParameterError where the network takes none of the sizes tried."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        return
    weight, reasons = convolutions[0].weight, []
    with evaluation_mode(model), uncounted():
        for size in SIZES:
            try:
                model(weight.new_zeros(1, convolutions[0].in_channels, size, size))
                return
            except (RuntimeError, ValueError, IndexError) as error:
                reasons.append(" ".join(str(error).split())[:200])
    sizes = ", ".join(map(str, SIZES))
    raise ParameterError(f"model: CLP runs it on a blank image, and it takes none of {sizes} pixels; {reasons[0]}")
