"""Putting triggers into data: the poisoned training set and the triggered test set."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.types import Trigger


@dataclass(frozen=True, eq=False)
class Poisoned:
    """A training set of which some images carry the trigger."""

    data: ImageSet
    is_poisoned: Bool[Tensor, " n"]  # ground truth, for analysis; no defence may read it


def poison(
    data: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    poison_rate: float,
    seed: int,
    clean_label: bool = False,
) -> Poisoned:
    """Stamp `trigger` on randomly chosen images and give them `target_label`.

    Dirty label (default): `poison_rate` is a share of the whole set, drawn from the classes other than the target.
    Clean label: it is a share of the target class, whose labels are right already. Stamped images are rounded to
    8 bits, as in a stored data set; augmentation later moves the trigger with the image.

    Raises ValueError when `poison_rate` is outside [0, 1] or asks for more images than there are.
    """
    labels = data.labels.cpu()
    candidates = ((labels == target_label) == clean_label).nonzero().squeeze(1)
    count = round(poison_rate * (len(candidates) if clean_label else len(data)))
    if not 0 <= count <= len(candidates):
        raise ValueError(f"poison_rate={poison_rate}: needs {count} of {len(candidates)} images")
    chosen = candidates[torch.randperm(len(candidates), generator=Generator().manual_seed(seed))[:count]]
    chosen = chosen.to(data.labels.device)
    images, poisoned_labels = data.images.clone(), data.labels.clone()
    if count:
        images[chosen], poisoned_labels[chosen] = apply_trigger(data.images[chosen], trigger), target_label
    is_poisoned = torch.zeros(len(data), dtype=torch.bool, device=images.device)
    is_poisoned[chosen] = True
    return Poisoned(ImageSet(images, poisoned_labels), is_poisoned)
