"""FUS, filtering and updating the poisoned set. Xia, Li, Zhang and Li, IJCAI 2022, arXiv:2204.12281.

A poisoned image that a network learns, forgets and learns again in training matters more than one it learns at once.
So train a network on a random set, keep the half that was forgotten most often, refill it with images never tried or
dropped before, and begin again with a fresh network. Settings are those of the released code.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.attacks.poisoning import Positions, candidates, poison_at
from bdlib.attacks.selection.random import random_selection
from bdlib.attacks.selection.ranking import highest, poison_beside, poison_losses, surrogate_seed
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, TargetLabel
from bdlib.training.loop import Schedule, steps
from bdlib.types import Labels, Loss, MakeModel, OnEvent, Trigger, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes which images are selected

Correctness = Bool[Tensor, "epochs n"]


@checked
def fus(
    train: ImageSet,
    trigger: Trigger,
    *,
    target_label: TargetLabel,
    poison_rate: ranges.Fraction,
    make_model: MakeModel,
    iterations: ranges.CountOrZero = 10,  # released 10
    iteration_epochs: ranges.Count = 70,  # released 70
    keep_ratio: ranges.Fraction = 0.5,  # alpha; released 0.5
    learning_rate: ranges.LearningRate = 0.1,  # this and the next: as for victims; released 0.01 in steps, 256 images
    batch_size: ranges.BatchSize = 64,
    augmentation: ranges.Augmentation = None,
    additive: bool = False,  # triggered copies beside the originals, as released, not in their place
    on_event: OnEvent = ignore,
    seed: ranges.Seed = 0,
) -> Positions:
    """The positions of the images to poison, increasing. Without iterations they are those of `random_selection`.

    The part that the last refill brings, half of it by default, was never screened: so is the released code.
    `on_event` is told "rounds", the sets, shape (iterations + 1, p); "events", the forgetting events of each set's
    images, shape (iterations, p); and "losses", every image's poison loss under the last network, shape (1, n).

    Raises ParameterError when a keyword is out of its range, and when there are too few images to poison.
    """
    relabel = AllToOne(target_label)
    ids = random_selection(train, trigger, target_label=target_label, poison_rate=poison_rate, make_model=make_model,
                           seed=seed)  # fmt: skip
    plant, sets, events = poison_beside if additive else poison_at, [ids], []
    for number in range(iterations if len(ids) else 0):
        schedule = Schedule(iteration_epochs, learning_rate, anneal="one_cycle", batch_size=batch_size,
                            augmentation=augmentation, seed=surrogate_seed(seed, number))  # fmt: skip
        poisoned, network = plant(train, trigger, relabel, ids), make_model()
        is_right = correctness(network, poisoned.data, schedule)[:, poisoned.is_poisoned.cpu()]
        events.append(forgetting_events(is_right))
        kept = most_forgotten(ids, events[-1], keep_ratio=keep_ratio, seed=schedule.seed)
        ids = refilled(kept, candidates(train.labels, relabel), count=len(ids), seed=schedule.seed)
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
    is_right = torch.zeros(schedule.epochs, len(data), dtype=torch.bool)
    for batch, step in steps(network, data, schedule):

        def loss() -> Loss:
            logits = network(batch.images)
            is_right[step.epoch, batch.ids.cpu()] = (logits.argmax(1) == batch.labels).cpu()
            return F.cross_entropy(logits, batch.labels)

        step(loss)
    return is_right


def forgetting_events(is_right: Correctness) -> Labels:
    """How often each image was classified as labeled in one epoch and not in the next."""
    return (is_right[:-1] & ~is_right[1:]).sum(0)


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
