"""Which images an attacker poisons: the choice at random, and what cleverer choices are made of.

The register of all selections is `bdlib.attacks.SELECTIONS`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import ImageSet, batches
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.types import Labels, MakeModel, Trigger

Positions = Int[Tensor, " p"]  # of images in the training set
Scores = Float[Tensor, " n"]  # one number for each image of the training set; the highest are wanted


def random_selection(
    train: ImageSet, trigger: Trigger, *, target_label: int, poison_rate: float, make_model: MakeModel, seed: int
) -> Positions:
    """Images drawn at random, the very ones that `bdlib.poison.poison` draws with this seed."""
    others = candidates(train, target_label=target_label)
    order = torch.randperm(len(others), generator=Generator().manual_seed(seed))
    return others[order[: budget(train, target_label=target_label, poison_rate=poison_rate)]].sort().values


def candidates(train: ImageSet, *, target_label: int) -> Positions:
    """The positions of all images outside the target class."""
    return (train.labels.cpu() != target_label).nonzero().squeeze(1)


def budget(train: ImageSet, *, target_label: int, poison_rate: float) -> int:
    """How many images may be poisoned. Raises ValueError when there are not as many outside the target class."""
    count, there = round(poison_rate * len(train)), int((train.labels != target_label).sum())
    if not 0 <= count <= there:
        raise ValueError(f"poison_rate={poison_rate}: needs {count} of {there} images")
    return count


def per_class_budget(labels: Labels, *, target_label: int, count: int, seed: int = 0) -> Int[Tensor, " k"]:
    """`count` shared out among the classes in proportion to their sizes, none to the target: shape (classes,).

    By largest remainder, in whole numbers; who of equals gets the last ones is drawn from `seed`.
    """
    sizes = labels.cpu().bincount()
    sizes[target_label:][:1] = 0
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
    chosen = [highest(scores, (labels == label).nonzero().squeeze(1), int(most), seed=seed)
              for label, most in enumerate(allowed)]  # fmt: skip
    return torch.cat(chosen).sort().values


def highest_of_all(scores: Scores, labels: Labels, *, target_label: int, count: int, seed: int = 0) -> Positions:
    """The `count` highest scores outside the target class, whatever their classes: positions, increasing."""
    return highest(scores, (labels != target_label).nonzero().squeeze(1), count, seed=seed).sort().values


def highest(scores: Scores, members: Int[Tensor, " m"], count: int, *, seed: int) -> Positions:
    """The `count` of `members` (positions) with the highest scores, the highest first; ties in an order by `seed`."""
    shuffled = members.cpu()[torch.randperm(len(members), generator=Generator().manual_seed(seed))]
    return shuffled[scores.cpu()[shuffled].argsort(descending=True, stable=True)[:count]]


def poison_at(data: ImageSet, trigger: Trigger, ids: Positions, *, target_label: int) -> Poisoned:
    """`data` with the images at positions `ids` stamped and labelled as the target; nothing else is changed."""
    chosen = ids.to(data.labels.device)
    images, labels = data.images.clone(), data.labels.clone()
    is_poisoned = torch.zeros(len(data), dtype=torch.bool, device=images.device)
    if len(chosen):
        images[chosen], labels[chosen] = apply_trigger(data.images[chosen], trigger), target_label
        is_poisoned[chosen] = True
    return Poisoned(ImageSet(images, labels), is_poisoned)


def poison_beside(data: ImageSet, trigger: Trigger, ids: Positions, *, target_label: int) -> Poisoned:
    """`data` whole, followed by a stamped copy of each image at `ids`, in their order, labelled as the target."""
    copies = poison_at(data[ids.to(data.labels.device)], trigger, torch.arange(len(ids)), target_label=target_label)
    both = ImageSet(torch.cat([data.images, copies.data.images]), torch.cat([data.labels, copies.data.labels]))
    return Poisoned(both, torch.cat([torch.zeros_like(data.labels, dtype=torch.bool), copies.is_poisoned]))


def surrogate_seed(seed: int, number: int) -> int:
    """The seed of a surrogate's `number`-th training: none that a victim of any usual `seed` draws from."""
    return seed + 10_000 * (number + 1)


def poison_losses(model: nn.Module, train: ImageSet, trigger: Trigger, *, target_label: int) -> Scores:
    """Cross-entropy of every image, stamped, with the target label, in nats: how hard it is as poison."""
    return clean_losses(
        model, ImageSet(apply_trigger(train.images, trigger), torch.full_like(train.labels, target_label))
    )


@torch.no_grad()
def clean_losses(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> Scores:
    """Cross-entropy of every image with its own label, in nats; evaluation mode, no augmentation."""
    was_training = model.training
    model.eval()
    found = [F.cross_entropy(model(b.images), b.labels, reduction="none") for b in batches(data, batch_size)]
    model.train(was_training)
    return torch.cat(found)
