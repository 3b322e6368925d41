"""Putting triggers into a stored training set."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.fit import wanted_labels
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, TargetLabel, apply_trigger
from bdlib.types import Labels, Pixels, Relabel, Trigger
from bdlib.words import shown

NUMBERS_VERSION = 1  # raise it when a change here, or in `apply_trigger`, changes a poisoned set

Positions = Int[Tensor, " p"]  # of images in the training set


@dataclass(frozen=True, eq=False)
class Poisoned:
    """A training set of which some images carry the trigger."""

    data: ImageSet
    is_poisoned: Bool[Tensor, " n"]  # ground truth, for analysis; no defense may read it


@checked
def poison(data: ImageSet, trigger: Trigger, *, target_label: TargetLabel, poison_rate: ranges.Fraction,
           seed: ranges.Seed, clean_label: bool = False) -> Poisoned:  # fmt: skip
    """`data` with the trigger on randomly drawn images, which are labeled as the target.

    By default `poison_rate` is a share of the whole set, drawn from the classes other than the target. With
    `clean_label` it is a share of the target class, whose labels are right already. Triggered images are rounded to
    8 bits, as in a stored data set; augmentation later moves the trigger with the image.

    Raises ParameterError when a keyword is out of its range, and when there are too few images to poison.

    Example: `poison(train, BadNets(), target_label=0, poison_rate=0.1, seed=0).data`
    """
    relabel = AllToOne(target_label)
    ids = draw_positions(data.labels, relabel, poison_rate=poison_rate, seed=seed, clean_label=clean_label)
    return poison_at(data, trigger, relabel, ids)


def candidates(labels: Labels, relabel: Relabel, *, clean_label: bool = False) -> Positions:
    """The positions of the images that may be poisoned, increasing.

    They are those whose label the attack changes; for a clean-label attack, those that have the wanted label already.
    """
    labels = labels.cpu()
    return ((wanted_labels(labels, relabel) == labels) == clean_label).nonzero().squeeze(1)


def draw_positions(
    labels: Labels, relabel: Relabel, *, poison_rate: float, seed: int, clean_label: bool = False
) -> Positions:
    """The positions of the images to poison, drawn at random from the `candidates`, in the order in which they came.

    Raises ParameterError when `poison_rate` asks for more images than there are.
    """
    pool = candidates(labels, relabel, clean_label=clean_label)
    count = round(poison_rate * (len(pool) if clean_label else len(labels)))
    if not 0 <= count <= len(pool):
        raise ParameterError(f"poison_rate={poison_rate}: needs {count} of {len(pool)} images")
    return pool[torch.randperm(len(pool), generator=Generator().manual_seed(seed))[:count]]


def poison_at(data: ImageSet, trigger: Trigger, relabel: Relabel, ids: Positions) -> Poisoned:
    """`data` with the trigger and the attack's labels on the images at positions `ids`; nothing else is changed."""
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(data):
        raise ParameterError(f"ids: must be from 0 to {len(data) - 1}, not {int(ids.min())} to {int(ids.max())}")
    ids = ids.to(data.labels.device)
    images, labels = data.images.clone(), data.labels.clone()
    is_poisoned = torch.zeros_like(labels, dtype=torch.bool)
    if len(ids):
        images[ids], labels[ids] = apply_trigger(data.images[ids], trigger), relabel(data.labels[ids])
        is_poisoned[ids] = True
        require_change(data.images[ids], images[ids], trigger)
    return Poisoned(ImageSet(images, labels), is_poisoned)


def require_change(before: Pixels, after: Pixels, trigger: Trigger) -> None:
    """Raise ParameterError where a trigger has changed no pixel of any of the images that it was put on."""
    if torch.equal(before, after):
        raise ParameterError(f"trigger={shown(trigger)}: changes none of the {len(before)} images that it is put on")
