"""Scores of images, and the choice of the highest: what selections are made of."""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from bdlib.attacks.poisoning import Poisoned, Positions, poison_at
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.models import sample_losses as clean_losses
from bdlib.types import Labels, Relabel, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes which images are selected

Scores = Float[Tensor, " n"]  # one number for each image of the training set; the highest are wanted


def per_class_budget(labels: Labels, *, target_label: int, count: int, seed: int = 0) -> Int[Tensor, " k"]:
    """`count` shared out among the classes in proportion to their sizes, none to the target: shape (classes,).

    By largest remainder, in whole numbers; which of equal classes get the last ones is drawn from `seed`.
    """
    sizes = labels.cpu().bincount()
    sizes[target_label:][:1] = 0  # nothing happens where the last class has a lower label
    total = max(1, int(sizes.sum()))
    shares, remainders = count * sizes // total, count * sizes % total
    shuffled = torch.randperm(len(sizes), generator=Generator().manual_seed(seed))
    order = shuffled[remainders[shuffled].argsort(descending=True, stable=True)]
    shares[order[: count - int(shares.sum())]] += 1
    return shares


def highest_in_every_class(
    scores: Scores, labels: Labels, *, target_label: int, count: int, seed: int = 0
) -> Positions:
    """The highest scores of every class but the target, as many as its `per_class_budget`: positions, increasing.

    The exact maximum of the total score under that constraint, since it splits by class. Ties are broken by `seed`.
    """
    allowed = per_class_budget(labels, target_label=target_label, count=count, seed=seed)
    of_classes = [highest(scores, (labels == label).nonzero().squeeze(1), int(most), seed=seed)
                  for label, most in enumerate(allowed)]  # fmt: skip
    return torch.cat(of_classes).sort().values


def highest_of_all(scores: Scores, labels: Labels, *, target_label: int, count: int, seed: int = 0) -> Positions:
    """The `count` highest scores outside the target class, whatever their classes: positions, increasing."""
    return highest(scores, (labels != target_label).nonzero().squeeze(1), count, seed=seed).sort().values


def highest(scores: Scores, members: Int[Tensor, " m"], count: int, *, seed: int) -> Positions:
    """The `count` of `members` (positions) with the highest scores, the highest first; ties in an order by `seed`."""
    shuffled = members.cpu()[torch.randperm(len(members), generator=Generator().manual_seed(seed))]
    return shuffled[scores.cpu()[shuffled].argsort(descending=True, stable=True)[:count]]


def poison_beside(data: ImageSet, trigger: Trigger, relabel: Relabel, ids: Positions) -> Poisoned:
    """`data` whole, followed by a poisoned copy of each image at `ids`, in their order."""
    copies = poison_at(data[ids.to(data.labels.device)], trigger, relabel, torch.arange(len(ids)))
    both = ImageSet(torch.cat([data.images, copies.data.images]), torch.cat([data.labels, copies.data.labels]))
    return Poisoned(both, torch.cat([torch.zeros_like(data.labels, dtype=torch.bool), copies.is_poisoned]))


def surrogate_seed(seed: int, number: int) -> int:
    """The seed of a surrogate's `number`-th training: none that a victim of any usual `seed` draws from."""
    return seed + 10_000 * (number + 1)


def poison_losses(model: nn.Module, train: ImageSet, trigger: Trigger, *, target_label: int) -> Scores:
    """Cross-entropy of every image, triggered, with the target label, in nats: how hard it is as poison."""
    targets = torch.full_like(train.labels, target_label)
    return clean_losses(model, ImageSet(apply_trigger(train.images, trigger), targets))
