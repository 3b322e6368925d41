"""Which images an attacker poisons: the choice at random, and the register of cleverer ones.

`SELECTIONS[key](train, trigger, *, target_label, poison_rate, make_model, seed)` returns the positions of the chosen
images, in increasing order; never one of the target class, and round(poison_rate * len(train)) of them.
"""

from collections.abc import Callable

import torch
from torch import Generator

from bdlib.data import ImageSet
from bdlib.in_training import MakeModel
from bdlib.poison import Poisoned, stamp
from bdlib.types import Labels, Trigger


def random_selection(
    train: ImageSet, trigger: Trigger, *, target_label: int, poison_rate: float, make_model: MakeModel, seed: int
) -> Labels:
    """Images drawn at random, the very ones that `bdlib.poison.poison` draws with this seed."""
    others = (train.labels.cpu() != target_label).nonzero().squeeze(1)
    order = torch.randperm(len(others), generator=Generator().manual_seed(seed))
    return others[order[: budget(train, target_label=target_label, poison_rate=poison_rate)]].sort().values


def budget(train: ImageSet, *, target_label: int, poison_rate: float) -> int:
    """How many images may be poisoned. Raises ValueError when there are not as many outside the target class."""
    count, there = round(poison_rate * len(train)), int((train.labels != target_label).sum())
    if not 0 <= count <= there:
        raise ValueError(f"poison_rate={poison_rate}: needs {count} of {there} images")
    return count


def poison_at(data: ImageSet, trigger: Trigger, ids: Labels, *, target_label: int) -> Poisoned:
    """`data` with the images at positions `ids` stamped and labelled as the target; nothing else is changed."""
    chosen = ids.to(data.labels.device)
    images, labels = data.images.clone(), data.labels.clone()
    is_poisoned = torch.zeros(len(data), dtype=torch.bool, device=images.device)
    if len(chosen):
        images[chosen], labels[chosen] = stamp(data.images[chosen], trigger), target_label
        is_poisoned[chosen] = True
    return Poisoned(ImageSet(images, labels), is_poisoned)


SELECTIONS: dict[str, Callable[..., Labels]] = {"random": random_selection}
