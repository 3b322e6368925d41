"""Fine-pruning. Liu, Dolan-Gavitt and Garg, RAID 2018, arXiv:1805.12185.

Filters of the last convolution that stay silent on clean images are not needed for them, and may serve the backdoor.
They are pruned, the most dormant first, for as long as accuracy on the defender's own images allows. Fine-tuning then
mends what was lost, and unsettles what is left of a backdoor that shares its filters with the task.
"""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from bdlib.data.images import ImageSet
from bdlib.defenses.fine_tune import fine_tune
from bdlib.models import predict
from bdlib.training.filter_masks import PerFilter
from bdlib.types import Batch, Loss

Kept = Bool[Tensor, " c"]  # true for the filters that stay


def fine_prune(
    model: nn.Module,
    clean: ImageSet,
    *,
    readout: str = "head",  # the layer that reads the last convolution, whose filters are pruned; paper
    allowed_drop: float = 0.04,  # what pruning may cost on `clean`; the paper leaves the number to the defender
    epochs: int = 10,  # as fine_tune, to be compared with it; paper not seen
    learning_rate: float = 0.1,  # as fine_tune
    milestone: int = 2,  # as fine_tune
    batch_size: int = 64,  # as fine_tune
    augmentation: int | None = 4,  # pixels of random crop, with mirroring; None for no augmentation
    seed: int = 0,
) -> nn.Module:
    """A copy of `model` without its dormant filters, fine-tuned on `clean`: the paper's two stages."""
    keep = choose_filters(model, clean, readout=readout, allowed_drop=allowed_drop)
    return fine_tune_pruned(model, clean, keep, readout=readout, epochs=epochs, learning_rate=learning_rate,
                            milestone=milestone, batch_size=batch_size, augmentation=augmentation, seed=seed)  # fmt: skip


def activations(model: nn.Module, data: ImageSet, *, readout: str = "head") -> Float[Tensor, "n c"]:
    """What `readout` reads of each image: the mean over pixels of every filter of the last convolution, after ReLU.

    Raises ValueError when `readout` is not linear, AttributeError when there is none of that name.
    """
    if not isinstance(model.get_submodule(readout), nn.Linear):
        raise ValueError(f"readout={readout!r}: must be a linear layer behind the last convolution")
    copy, seen = deepcopy(model).eval(), []
    copy.get_submodule(readout).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    predict(copy, data)
    return torch.cat(seen)


def dormancy(model: nn.Module, clean: ImageSet, *, readout: str = "head") -> PerFilter:
    """Mean activation of every filter on clean images; the lowest are the most dormant."""
    return activations(model, clean, readout=readout).mean(0)


@torch.no_grad()
def choose_filters(model: nn.Module, clean: ImageSet, *, readout: str = "head", allowed_drop: float = 0.04) -> Kept:
    """The filters left when the most dormant are taken one by one until one more would cost more than allowed.

    Accuracy is that on the defender's own images. Pruning changes nothing before `readout`: its inputs stay the same.
    """
    active, head = activations(model, clean, readout=readout), model.get_submodule(readout)

    def accuracy(keep: Kept) -> float:
        return (head(active * keep).argmax(1) == clean.labels).double().mean().item()

    keep = torch.ones_like(active[0], dtype=torch.bool)
    lowest = accuracy(keep) - allowed_drop
    for number in active.mean(0).argsort(stable=True):
        keep[number] = False
        if accuracy(keep) < lowest:
            keep[number] = True
            break
    return keep


def without(model: nn.Module, keep: Kept, *, readout: str = "head") -> nn.Module:
    """A copy of `model` in which `readout` no longer reads the filters outside `keep`, as if they were silent."""
    copy = deepcopy(model).eval()
    copy.get_parameter(f"{readout}.weight").data.mul_(keep)
    return copy


def fine_tune_pruned(model: nn.Module, clean: ImageSet, keep: Kept, *, readout: str = "head", **how: Any) -> nn.Module:
    """`model` pruned, then tuned as by `fine_tune`, told `how`: the zeroed weights get no gradient and stay zero."""
    name = f"{readout}.weight"

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        weight = network.get_parameter(name) * keep
        return F.cross_entropy(functional_call(network, {name: weight}, (batch.images,)), batch.labels)

    return fine_tune(without(model, keep, readout=readout), clean, loss_fn=loss_fn, **how)
