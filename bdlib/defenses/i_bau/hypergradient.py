"""The gradient of a min-max problem: how the loss moves with the weights when the worst perturbation moves with them.

The implicit function theorem in the form of Grazzi et al., ICML 2020, arXiv:2006.16218, as in I-BAU's released code.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bdlib.types import Loss

SETTLED = 1e-10  # the series ends where its next term is shorter; released code

Perturbation = Float[Tensor, "1 c h w"]  # added to every image, and not clipped to [0, 1]


def hypergradient(
    outer: Loss, mapped: Tensor, shift: Tensor, weights: Sequence[Tensor], *, fixed_point_steps: int
) -> list[Tensor]:
    """The gradient of the `outer` loss by the weights where the perturbation `shift` moves with them.

    `mapped` is the step of descent from `shift` whose fixed point the worst perturbation is; it and `outer` must hang
    on `shift` and the weights. The inverse in the implicit function theorem is a Neumann series of so many terms; with
    0 terms the result is the plain gradient. It needs second derivatives of the network.
    """
    direct, *slopes = torch.autograd.grad(outer, [shift, *weights], allow_unused=True)
    gradients = [torch.zeros_like(w) if slope is None else slope for slope, w in zip(slopes, weights, strict=True)]
    if not fixed_point_steps or direct is None or not direct.any():
        return gradients
    vector = torch.zeros_like(shift)
    for _ in range(fixed_point_steps):
        (turned,) = torch.autograd.grad(mapped, shift, vector, retain_graph=True)
        last, vector = vector, turned + direct
        if (vector - last).norm() < SETTLED:
            break
    implicit = torch.autograd.grad(mapped, weights, vector, allow_unused=True)
    return [slope if more is None else slope + more for slope, more in zip(gradients, implicit, strict=True)]
