"""How the loss bends around a network's weights: random planes, the largest curvature, the way to another network."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.func import functional_call

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.models import evaluation_mode

Shift = dict[str, Tensor]  # a move of some weights, by parameter name


def random_direction(model: nn.Module, generator: Generator) -> Shift:
    """A Gaussian move of all filters and linear rows, each scaled to the length of the weights that it moves.

    Vectors (BatchNorm's and biases) stay. Networks that differ only in their filters' scales get comparable moves. Li
    et al. 2018, arXiv:1712.09913.
    """
    shift = {}
    for name, p in model.named_parameters():
        if p.dim() > 1:
            rows = torch.randn(p.shape, generator=generator).to(p.device).flatten(1)
            rows = rows * p.detach().flatten(1).norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True)
            shift[name] = rows.view(p.shape)
    return shift


@torch.no_grad()
def loss_at(model: nn.Module, images: ImageSet, shift: Shift, radius: float) -> float:
    """Mean cross-entropy on `images` with the weights moved by `radius` times `shift`, running statistics as stored."""
    weights = dict(model.named_parameters())
    moved = {name: weights[name] + radius * move for name, move in shift.items()}
    return F.cross_entropy(functional_call(model, moved, (images.images.float() / 255,)), images.labels).item()


@checked
def loss_plane(
    model: nn.Module, images: ImageSet, radii: Sequence[float], *, seed: ranges.Seed = 0
) -> Float[Tensor, "r r"]:
    """The loss on a random plane through the weights: row i, column j at radii i and j along two directions.

    The network is in evaluation mode and its weights stay as they are. Another seed gives another plane.

    Example: `loss_plane(model, test[:100], [-1.0, 0.0, 1.0])[1, 1]` is the loss of `model` itself.
    """
    generator = Generator().manual_seed(seed)
    one, other = random_direction(model, generator), random_direction(model, generator)
    with evaluation_mode(model):
        rows = [
            [loss_at(model, images, {name: a * one[name] + b * other[name] for name in one}, 1.0) for b in radii]
            for a in radii
        ]
    return torch.tensor(rows)


@checked
def hessian_eigenvalue(
    model: nn.Module,
    images: ImageSet,
    *,
    iterations: Annotated[int, Field(ge=2, le=1000)] = 20,
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01,
    seed: ranges.Seed = 0,
) -> float:
    """The largest eigenvalue of the loss's Hessian by all weights: how sharply the loss bends at worst.

    Lanczos' method by SciPy (`eigsh`) on products of the Hessian with vectors, which take two backward passes each;
    the network is in evaluation mode. It depends on the weights' scale, so compare networks of one architecture that
    were trained alike. `tolerance` is relative. `iterations` are restarts at most; where they do not suffice, the best
    estimate so far is returned.

    Example: `hessian_eigenvalue(repaired, test[:200]) / hessian_eigenvalue(victim, test[:200])`
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise ParameterError("model: has no weights that take gradients")
    size = sum(p.numel() for p in weights)
    with evaluation_mode(model), torch.enable_grad():
        loss = F.cross_entropy(model(images.images.float() / 255).float(), images.labels)
        slopes = _joined(torch.autograd.grad(loss, weights, create_graph=True))

        def times(vector: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(np.asarray(vector, dtype=np.float32).reshape(-1)).to(slopes.device)
            product = torch.autograd.grad(slopes @ given, weights, retain_graph=True)
            return _joined(product).detach().cpu().numpy()

        start = torch.randn(size, generator=Generator().manual_seed(seed)).numpy()
        operator = LinearOperator((size, size), matvec=times, dtype=np.float32)
        kind = {"k": 1, "which": "LA", "ncv": 8, "v0": start, "maxiter": iterations, "tol": tolerance}
        try:
            found = eigsh(operator, return_eigenvectors=False, **kind)
        except ArpackNoConvergence as error:
            found = error.eigenvalues if len(error.eigenvalues) else [float("nan")]
    return float(found[0])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])


@checked
def between(one: nn.Module, other: nn.Module, share: ranges.Fraction) -> Shift:
    """The weights and running statistics at `share` of the straight way from one network to another, by name.

    Raises ParameterError for networks whose weights have other names or shapes.
    """
    start, end = one.state_dict(), other.state_dict()
    if {name: t.shape for name, t in start.items()} != {name: t.shape for name, t in end.items()}:
        raise ParameterError("other: must have the same weights as the first network, by name and shape")
    return {
        name: torch.lerp(t, end[name], share) if t.is_floating_point() else (t if share < 1 else end[name])
        for name, t in start.items()
    }
