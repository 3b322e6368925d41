"""Reconstructive neuron pruning (RNP). Li et al., ICML 2023, arXiv:2305.14876.

A copy of the network forgets clean images by gradient ascent, while the trigger's path survives. A mask on every filter
is trained to recover those images, which lowers the trigger's filters. These are pruned from the original network.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any, Literal

import torch.nn.functional as F
from torch import nn

from bdlib.data.images import ImageSet
from bdlib.models import predict, share
from bdlib.training.filter_masks import Masked, PerFilter, choose_threshold, prune
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import Batch, Loss

Watch = Callable[[nn.Module], None]  # is shown the network after every step, for figures


def rnp(
    model: nn.Module, clean: ImageSet, *,
    stop_accuracy: float = 0.2,  # the paper's CA_min; here and below: released code, as the paper's value was not seen
    unlearning_rate: float = 0.01, unlearning_epochs: int = 21,  # epochs: at most
    alpha: float = 0.2, recovery_rate: float = 0.2, recovery_epochs: int = 20,  # alpha: weight of the recovery's loss
    allowed_drop: float = 0.05,  # of accuracy on `clean`; ours: half of what backdoor-toolbox's sweep allows
    batch_size: int = 128, augmentation: int | None = 4,  # augmentation: pixels of random crop, with mirroring
    variant: Literal["paper", "released"] = "paper",  # released: unlearning ends otherwise, see there
    seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A pruned copy of `model`; `clean` is the defender's small trusted set. Nothing is trained after pruning."""
    steps: dict[str, Any] = {"batch_size": batch_size, "augmentation": augmentation, "seed": seed}
    unlearned = unlearn(model, clean, stop_accuracy=stop_accuracy, learning_rate=unlearning_rate,
                        epochs=unlearning_epochs, variant=variant, **steps)  # fmt: skip
    masks = recover_masks(unlearned, clean, alpha=alpha, learning_rate=recovery_rate, epochs=recovery_epochs, **steps)
    return prune(model, masks, choose_threshold(model, masks, clean, allowed_drop=allowed_drop))


def unlearn(
    model: nn.Module, clean: ImageSet, *, stop_accuracy: float, learning_rate: float, epochs: int, batch_size: int,
    augmentation: int | None, variant: str = "paper", seed: int = 0, watch: Watch = lambda network: None,
) -> nn.Module:  # fmt: skip
    """A copy of `model` after gradient ascent on all weights, until accuracy on `clean` is at most `stop_accuracy`.

    Tested after each step; released: each epoch, in training mode, and the rate is cut tenfold at epochs 10 and 20.
    """
    milestones = (10, 20) if variant == "released" else ()
    schedule = Schedule(epochs, learning_rate, "constant", milestones, batch_size, augmentation=augmentation, seed=seed)
    unlearned, right = deepcopy(model).requires_grad_(True), list[bool]()
    optimizer = schedule.sgd(unlearned.parameters())

    def ascent(network: nn.Module, batch: Batch) -> Loss:
        logits = network(batch.images)
        right.extend((logits.argmax(1) == batch.labels).tolist())
        return -F.cross_entropy(logits, batch.labels)

    def after_step(*_: object) -> None:
        watch(unlearned)
        if variant == "paper" and share(predict(unlearned, clean) == clean.labels) <= stop_accuracy:
            raise StopIteration

    def after_epoch(*_: object) -> None:
        if variant == "released" and sum(right[-len(clean) :]) / len(clean) <= stop_accuracy:
            raise StopIteration

    optimizer.register_step_post_hook(after_step)
    with suppress(StopIteration):
        train(unlearned, clean, schedule, loss_fn=ascent, optimizer=optimizer, on_event=after_epoch)
    return unlearned.eval()


def recover_masks(
    unlearned: nn.Module, clean: ImageSet, *, alpha: float, learning_rate: float, epochs: int, batch_size: int,
    augmentation: int | None, seed: int = 0, watch: Watch = lambda network: None,
) -> dict[str, PerFilter]:  # fmt: skip
    """Masks that, trained alone from one and clipped after every step, make `unlearned` fit `clean` again."""
    masked = Masked(deepcopy(unlearned))
    schedule = Schedule(
        epochs, learning_rate, "constant", batch_size=batch_size, weight_decay=0, augmentation=augmentation, seed=seed
    )
    optimizer = schedule.sgd(masked.masks)
    optimizer.register_step_post_hook(lambda *_: masked.clip())
    optimizer.register_step_post_hook(lambda *_: watch(masked))
    train(masked, clean, schedule, loss_fn=lambda m, batch: alpha * cross_entropy(m, batch), optimizer=optimizer)
    return masked.values()
