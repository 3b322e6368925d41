"""Sharpness-aware minimization (SAM): move the weights uphill first, then step by the gradient at that place.

FT-SAM takes the adaptive perturbation of Kwon et al. 2021 (arXiv:2102.11600), NWC a mixture of both gradients.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bdlib import ranges
from bdlib.checks import checked


class SharpnessAware(Optimizer):
    """A `base` optimizer that steps from w by the gradient at w + e, mixed with the gradient at w.

    Plain: e = rho g / norm(g). `adaptive`: e = rho w^2 g / norm(abs(w) g), so that large weights move most. The norm is
    that of all tensors together, or of each by itself (`per_tensor`). `mix` is the share of the uphill gradient in the
    step, in [0, 1]. BatchNorm's running statistics are those of the first pass. With `rho` or `mix` zero there is no
    second pass, and every step is the base optimizer's own.

    Foret et al. 2021, arXiv:2010.01412, equations 2 and 3.

    Example::

        optimizer = SharpnessAware(model, schedule.sgd(model.parameters()), rho=0.05)
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        base: Optimizer,
        *,
        rho: ranges.Radius,
        adaptive: bool = False,
        per_tensor: bool = False,
        mix: ranges.Weight = 1.0,
    ) -> None:
        super().__init__([p for group in base.param_groups for p in group["params"]], {})
        self.param_groups = base.param_groups  # a learning rate set on either is set on both
        self.model, self.base = model, base
        self.rho, self.adaptive, self.per_tensor, self.mix = rho, adaptive, per_tensor, mix

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One step; returns the first loss. `closure` clears gradients, computes loss and gradients, returns it."""
        loss = closure()
        if self.rho and self.mix:
            moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
            start = [p.detach().clone() for p in moved]
            gradients = [p.grad.clone() for p in moved if p.grad is not None]
            shifts = perturbation(start, gradients, self.rho, adaptive=self.adaptive, per_tensor=self.per_tensor)
            with torch.no_grad():
                torch._foreach_add_(moved, shifts)
            with frozen_statistics(self.model):
                closure()
            with torch.no_grad():
                torch._foreach_copy_(moved, start)
                for p, gradient in zip(moved, gradients, strict=True):
                    if p.grad is not None:
                        p.grad.lerp_(gradient, 1 - self.mix)
        self.base.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state: this one has none of its own."""
        return self.base.state_dict()


def perturbation(
    weights: list[Tensor], gradients: list[Tensor], rho: float, *, adaptive: bool, per_tensor: bool = False
) -> list[Tensor]:
    """The first-order worst step e within radius `rho`, a tensor for each of `weights`.

    norm(e) = rho; adaptive: norm(e / abs(w)) = rho over the weights that are not zero, and e = 0 where w = 0.
    """
    scaled = [w.abs() * g if adaptive else g for w, g in zip(weights, gradients, strict=True)]
    lengths = [s.norm() for s in scaled]
    if not per_tensor:
        lengths = [torch.stack(lengths).norm()] * len(scaled)
    return [
        rho * (w.abs() * s if adaptive else s) / (length + 1e-12)
        for w, s, length in zip(weights, scaled, lengths, strict=True)
    ]


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Inside the block BatchNorm's running statistics stay as they are; its output is that of the model's mode."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
