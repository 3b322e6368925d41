"""Benign salience and adaptive regularisation (AR). Fan et al. 2022, arXiv:2208.06537.

To first order, a weight times its gradient tells what its removal does to the clean task: its benign salience. The
weights that serve this task least are marked as bad. Fine-tuned on clean images, they pay a penalty that adapts to
their size, while the marks spread to all weights.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.optim import SGD

from bdlib.data.images import ImageSet
from bdlib.defenses.ar.salience import benign_salience, mask, updated, weights_inside
from bdlib.training.loop import Schedule, train


def ar(
    model: nn.Module,
    clean: ImageSet,
    *,
    layers: Sequence[str] = ("head",),  # whose weights are purified. Here and below: paper not seen; released code
    alpha: float = 0.01,  # weight of the summed penalty
    regularizer: str = "adaptive",  # or l1, l2: the abstract's "common" ones
    select: str = "bottom",  # the least salient, as the abstract says; released code: top
    initial_share: float = 0.5,  # of weights marked, growing to 1 with the epochs
    decay: float = 0.9,  # of the salience's moving average
    epochs: int = 10,
    learning_rate: float = 0.01,
    momentum: float = 0.9,  # first released code; 0 since June 2022
    batch_size: int = 128,
    augmentation: int | None = 4,  # pixels of random crop, with mirroring
    variant: str = "paper",
    seed: int = 0,
    watch: Callable[[nn.Module], None] = lambda defended: None,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. With `alpha` zero it is fine-tuning.

    `variant="released"` has the code's marks (top), penalty and score, whatever `select` and `regularizer` say.
    `watch` sees the network after each epoch. Raises AttributeError for an unknown layer, KeyError for another choice.
    """
    salience = benign_salience(
        model, clean, layers=layers, decay=decay, batch_size=batch_size, augmentation=augmentation, seed=seed
    )
    defended, released = deepcopy(model).requires_grad_(True), variant == "released"

    def add_penalty(epoch: int) -> None:
        share = masked_share(epoch, epochs, initial_share)
        for name, weight in weights_inside(defended, layers).items():
            marked = mask(salience[name], share, "top" if released else select)
            pays = released_penalty(weight, marked) if released else REGULARIZERS[regularizer](weight) * marked
            fit, pull = weight.grad.clone(), torch.autograd.grad(alpha * pays.sum(), weight)[0]  # type: ignore[union-attr]
            salience[name] = updated(salience[name], fit + pull if released else fit, weight, decay)
            weight.grad = fit + pull

    schedule = Schedule(
        epochs, learning_rate, anneal="constant", batch_size=batch_size, augmentation=augmentation, seed=seed
    )
    optimizer = Interrupted(defended.parameters(), learning_rate, momentum, add_penalty, -(-len(clean) // batch_size))
    return train(defended, clean, schedule, optimizer=optimizer, on_event=lambda *_: watch(defended))


def masked_share(epoch: int, epochs: int, initial_share: float = 0.5) -> float:
    """The share of weights marked in `epoch`, counted from 1: it grows by equal steps to 1 in the last."""
    return 1 - (1 - initial_share) * (1 - epoch / epochs)


def adaptive_penalty(weight: Tensor) -> Tensor:
    """What each weight pays: its size up to 1, exp(size - 1) beyond; the slope too is continuous, but at zero."""
    size = weight.abs()
    return torch.where(size <= 1, size, (size - 1).exp())


def released_penalty(weight: Tensor, marked: Bool[Tensor, "..."]) -> Tensor:
    """As released: also unmarked weights pay their size, and the marked below -1 are paid, more the larger they are."""
    inside = (weight * marked).abs() <= 1
    return torch.where(inside, weight.abs(), weight.sign() * (weight.abs() - 1).exp())


REGULARIZERS: dict[str, Callable[[Tensor], Tensor]]
REGULARIZERS = {"adaptive": adaptive_penalty, "l1": torch.abs, "l2": torch.square}


class Interrupted(SGD):
    """SGD that calls `between` with the epoch, from 1, whenever the loss has left its gradients, before it steps."""

    def __init__(
        self, weights: Iterable[Tensor], rate: float, momentum: float, between: Callable[[int], None], steps: int
    ):
        super().__init__(weights, rate, momentum=momentum)
        self.between, self.steps, self.taken = between, steps, 0  # steps an epoch, and so far

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One step; `closure` computes the loss and its gradients. Returns the loss."""
        loss = closure()
        self.between(self.taken // self.steps + 1)
        self.taken += 1
        super().step()
        return loss
