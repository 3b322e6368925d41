"""FUS, filtering and updating the poisoned set. Xia, Li, Zhang and Li, IJCAI 2022, arXiv:2204.12281.

A poisoned image that a network learns, forgets and learns again in training matters more than one it learns at once.
So train a network on a random set, keep the half that was forgotten most often, refill it with images never tried or
dropped before, and begin again with a fresh network. Settings are those of the released code.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Generator, Tensor, nn

from bdlib.attacks.selection.ranking import (
    Positions,
    candidates,
    highest,
    poison_at,
    poison_beside,
    poison_losses,
    random_selection,
    surrogate_seed,
)
from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule
from bdlib.training.loop import train as fit
from bdlib.types import Batch, Labels, Loss, MakeModel, OnEvent, Trigger, ignore

Correctness = Bool[Tensor, "epochs n"]


def fus(
    train: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    poison_rate: float,
    make_model: MakeModel,
    iterations: int = 10,  # released 10
    iteration_epochs: int = 70,  # released 70
    keep_ratio: float = 0.5,  # alpha; released 0.5
    learning_rate: float = 0.1,  # this and the next: the victims' own recipe; released 0.01 in steps, and 256 images
    batch_size: int = 64,
    augmentation: int | None = None,  # pixels of random crop, with mirroring; None for no augmentation
    additive: bool = False,  # stamped copies beside the originals, as released, not in their place
    on_event: OnEvent = ignore,  # is shown `rounds`, the sets, `events`, and `losses`, the last network's poison losses
    seed: int = 0,
) -> Positions:
    """The positions of the images to poison, increasing. With no iterations those of `random_selection`.

    The part that the last refill brings, half of it by default, was never screened: so is the released code.
    """
    ids = random_selection(train, trigger, target_label=target_label, poison_rate=poison_rate, make_model=make_model,
                           seed=seed)  # fmt: skip
    plant, sets, events = poison_beside if additive else poison_at, [ids], []
    for number in range(iterations if len(ids) else 0):
        schedule = Schedule(iteration_epochs, learning_rate, anneal="one_cycle", batch_size=batch_size, augmentation=augmentation,
                            seed=surrogate_seed(seed, number))  # fmt: skip
        poisoned, network = plant(train, trigger, ids, target_label=target_label), make_model()
        right = correctness(network, poisoned.data, schedule)[:, poisoned.is_poisoned.cpu()]
        events.append(forgetting_events(right))
        ids = refilled(most_forgotten(ids, events[-1], keep_ratio=keep_ratio, seed=schedule.seed),
                       candidates(train, target_label=target_label), count=len(ids), seed=schedule.seed)  # fmt: skip
        sets.append(ids)
    if events:
        on_event("rounds", torch.stack(sets))
        on_event("events", torch.stack(events))
        on_event("losses", poison_losses(network, train, trigger, target_label=target_label)[None].cpu())
    return ids


def correctness(network: nn.Module, data: ImageSet, schedule: Schedule) -> Correctness:
    """Train `network` in place; for every epoch, which images got their label when their batch came up.

    On the augmented images and in training mode, as a network forgets while it learns.
    """
    right = torch.zeros(schedule.epochs, len(data), dtype=torch.bool)
    epoch = 0

    def loss_fn(model: nn.Module, batch: Batch) -> Loss:
        logits = model(batch.images)
        right[epoch, batch.ids.cpu()] = (logits.argmax(1) == batch.labels).cpu()
        return F.cross_entropy(logits, batch.labels)

    def turn(*_: object) -> None:
        nonlocal epoch
        epoch += 1

    fit(network, data, schedule, loss_fn=loss_fn, on_event=turn)
    return right


def forgetting_events(right: Correctness) -> Labels:
    """How often each image was classified as labelled in one epoch and not in the next."""
    return (right[:-1] & ~right[1:]).sum(0)


def most_forgotten(ids: Labels, events: Labels, *, keep_ratio: float, seed: int) -> Positions:
    """The share `keep_ratio` of `ids`, rounded down, with the most events; ties in an order drawn from `seed`.

    An image that was never learned has no events, and goes.
    """
    return ids[highest(events.float(), torch.arange(len(ids)), int(keep_ratio * len(ids)), seed=seed)]


def refilled(kept: Int[Tensor, " k"], pool: Int[Tensor, " m"], *, count: int, seed: int) -> Positions:
    """`kept` filled up to `count` with images of `pool` at random, none twice: positions, increasing.

    The released code draws from the whole pool and may draw a kept image again.
    """
    others = pool[~torch.isin(pool, kept)]
    order = torch.randperm(len(others), generator=Generator().manual_seed(seed))
    return torch.cat([kept, others[order[: count - len(kept)]]]).sort().values
