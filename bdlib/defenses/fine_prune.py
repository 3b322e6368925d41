"""Fine-pruning. Liu, Dolan-Gavitt and Garg, RAID 2018, arXiv:1805.12185.

Filters of the last convolution that stay silent on clean images are not needed for them, and may serve the backdoor.
They are pruned, the most dormant first, for as long as accuracy on the defender's own images allows. Fine-tuning then
restores accuracy, and weakens what is left of a backdoor that shares its filters with the task.
"""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from bdlib import ranges
from bdlib.checks import ParameterError, checked, needs
from bdlib.data.fit import probe
from bdlib.data.images import ImageSet, batches
from bdlib.defenses.fine_tune import fine_tune
from bdlib.models import default_layers, evaluation_mode, find_layer, share, tap
from bdlib.training.filter_masks import PerFilter
from bdlib.types import Batch, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
FilterSet = Bool[Tensor, " c"]  # true for the filters that stay


def require_readout(model: nn.Module, clean: ImageSet, readout: str | None) -> None:
    """Raise ParameterError unless `readout` is the linear layer that gives the logits, from one vector for each image.

    Pruning is judged by this layer's answers alone. None stands for the network's own head.
    """
    readout = readout or default_layers(model, "head", parameter="readout")[0]
    _linear(model, readout)
    with tap(model, readout, inputs=True) as entering, tap(model, readout) as leaving:
        logits = probe(model, clean.images)
    if readout not in entering or entering[readout].dim() != 2 or leaving[readout].shape != logits.shape:
        raise ParameterError(f"readout={readout!r}: must give the network's logits from one vector for each image")


@checked
@needs(require_readout)
def fine_prune(
    model: nn.Module,
    clean: ImageSet,
    *,
    readout: str | None = None,  # the layer that reads the last convolution, whose filters are pruned; None: the head
    allowed_drop: ranges.Fraction = 0.04,  # what pruning may cost on `clean`; the paper leaves it to the defender
    epochs: ranges.CountOrZero = 10,  # this and all below: as fine_tune, to be compared with it; paper not seen
    learning_rate: ranges.LearningRate | None = 0.1,  # None: by fine_tune's rule, `highest_rate`
    milestone: ranges.CountOrZero = 2,
    batch_size: ranges.BatchSize = 64,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A copy of `model` without its dormant filters, fine-tuned on `clean`: the paper's two stages.

    Example::

        repaired = fine_prune(victim, clean, allowed_drop=0.02, epochs=5)

    `on_event` is told "kept_filters" (a boolean for each filter) and "epoch" (`bdlib.training.loop.Epoch`) after each
    epoch of fine-tuning. Raises ParameterError for a keyword out of range, and for a `readout` of another kind.
    """
    readout = readout or default_layers(model, "head", parameter="readout")[0]
    kept = choose_filters(model, clean, readout=readout, allowed_drop=allowed_drop)
    on_event("kept_filters", kept)
    return fine_tune_pruned(model, clean, kept, readout=readout, epochs=epochs, learning_rate=learning_rate,
                            milestone=milestone, batch_size=batch_size, augmentation=augmentation, seed=seed,
                            on_event=on_event)  # fmt: skip


@checked
@torch.inference_mode()
def activations(model: nn.Module, data: ImageSet, *, readout: str = "head") -> Float[Tensor, "n c"]:
    """What `readout` reads of each image: the mean over pixels of every filter of the last convolution, after ReLU.

    Raises ParameterError when there are no images, or no such linear layer.
    """
    _linear(model, readout)
    rows = list[Tensor]()
    with evaluation_mode(model), tap(model, readout, inputs=True) as entering:
        for batch in batches(data, 500):
            model(batch.images)
            rows.append(entering[readout])
    return torch.cat(rows)


def _linear(model: nn.Module, readout: str) -> None:
    if not isinstance(find_layer(model, readout, parameter="readout"), nn.Linear):
        linear = ", ".join(name for name, part in model.named_modules() if isinstance(part, nn.Linear)) or "none"
        raise ParameterError(
            f"readout={readout!r}: must be a linear layer behind the last convolution; it has {linear}"
        )


def dormancy(model: nn.Module, clean: ImageSet, *, readout: str = "head") -> PerFilter:
    """Mean activation of every filter on clean images; the lowest are the most dormant."""
    return activations(model, clean, readout=readout).mean(0)


@checked
@torch.no_grad()
def choose_filters(
    model: nn.Module, clean: ImageSet, *, readout: str = "head", allowed_drop: ranges.Fraction = 0.04
) -> FilterSet:
    """The filters left when the most dormant are pruned one by one until one more would cost more than `allowed_drop`.

    Accuracy is that on the defender's own images. Pruning changes nothing before `readout`: its inputs stay the same.
    """
    active, head = activations(model, clean, readout=readout), model.get_submodule(readout)

    def accuracy_with(kept: FilterSet) -> float:
        return share(head(active * kept).argmax(1) == clean.labels)

    kept = torch.ones_like(active[0], dtype=torch.bool)
    lowest_accuracy = accuracy_with(kept) - allowed_drop
    for number in active.mean(0).argsort(stable=True):
        kept[number] = False
        if accuracy_with(kept) < lowest_accuracy:
            kept[number] = True
            break
    return kept


def without_filters(model: nn.Module, kept: FilterSet, *, readout: str = "head") -> nn.Module:
    """A copy of `model` in which `readout` reads only the `kept` filters, as if the others were silent."""
    copy = deepcopy(model).eval()
    copy.get_parameter(f"{readout}.weight").data.mul_(kept)
    return copy


def fine_tune_pruned(
    model: nn.Module, clean: ImageSet, kept: FilterSet, *, readout: str = "head", **fine_tuning: Any
) -> nn.Module:
    """`model` pruned, then fine-tuned; the zeroed weights get no gradient and stay zero.

    `fine_tuning` are keywords of `fine_tune`.
    """
    name = f"{readout}.weight"

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        weight = network.get_parameter(name) * kept
        return F.cross_entropy(functional_call(network, {name: weight}, (batch.images,)), batch.labels)

    return fine_tune(without_filters(model, kept, readout=readout), clean, loss_fn=loss_fn, **fine_tuning)
