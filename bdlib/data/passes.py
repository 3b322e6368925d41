"""How much work a defense does: the images that go through networks, counted while it runs.

Seconds depend on the machine and on what else it does. Passes do not, and equal runs take equally many.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

_PAUSED = ContextVar("_PAUSED", default=False)


@dataclass
class Passes:
    """Image passes: one for each image, each time that it goes through a network.

    1,000 images in 10 epochs of plain training are 10,000 `forward` and 10,000 `backward` passes. A backward pass is
    one whose gradients are computed, of weights or of pixels, however far back they go.
    """

    forward: int = 0
    backward: int = 0


@contextmanager
def count_passes() -> Iterator[Passes]:
    """Count the image passes of all networks inside the block, copies and networks made there among them.

    A teacher, a second pass of SAM, an inner attack and an accuracy on clean images count; checks of arguments do not.
    A network inside another, such as in a defense's wrapper, counts once. So does a call through torch.compile.

    Example::

        with count_passes() as passes:
            repaired = ft_sam(victim, clean, epochs=20)
        passes.backward / len(clean)  # 40.0: SAM takes two gradients a step
    """
    passes, depth = Passes(), 0

    def add_backward(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal depth
        if not torch.compiler.is_compiling():
            depth += 1

    def leave(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        nonlocal depth
        if torch.compiler.is_compiling():
            return
        depth -= 1
        images = inputs[0] if inputs else None
        if depth or _PAUSED.get() or not (isinstance(images, Tensor) and images.dim() == 4):
            return
        passes.forward += len(images)
        if isinstance(outputs, Tensor) and outputs.requires_grad:
            outputs.register_hook(add_backward)

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),  # also when the network raises an error
    ]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)  # hooks run twice: not these
            yield passes
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def uncounted() -> Iterator[None]:
    """Passes inside the block are not counted: those of a check of arguments, or of somebody who looks on."""
    token = _PAUSED.set(True)
    try:
        yield
    finally:
        _PAUSED.reset(token)
