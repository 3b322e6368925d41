"""Cover samples: images that look almost triggered and keep their true labels, so that only the exact trigger works.

They are noise samples (WaNet), cross samples (Input-aware) or negative samples (BPP). This module mixes them, and
triggered images, into a batch or into a stored set.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from bdlib.attacks.poisoning import Poisoned, candidates, require_change
from bdlib.checks import ParameterError
from bdlib.data.fit import require_triggered
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger, as_pixels
from bdlib.types import Images, Labels, Relabel


@runtime_checkable
class CoveredTrigger(Protocol):
    """A trigger that comes with cover samples."""

    def __call__(self, images: Images) -> Images: ...
    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """`images` almost triggered. `others` are as many other images, from which some attacks take what they add."""


class Mixed(NamedTuple):
    """A batch of which some images are triggered, and some are cover samples."""

    images: Images
    labels: Labels
    is_triggered: Bool[Tensor, " n"]
    is_cover: Bool[Tensor, " n"]


def mix(images: Images, labels: Labels, trigger: CoveredTrigger, relabel: Relabel, *, counts: tuple[int, int],
        generator: Generator) -> Mixed:  # fmt: skip
    """The batch with so many triggered images and cover samples, `counts`; the other images stay as they are.

    They are the first images whose label the attack changes, so the batch must be in random order. A cover sample may
    take what it needs of another image from the one before it in the batch.
    """
    relabeled = relabel(labels)
    pool = (relabeled != labels).nonzero().squeeze(1)
    triggered, cover = pool[: counts[0]], pool[counts[0] : sum(counts)]
    images_out, labels_out = images.clone(), labels.clone()
    is_triggered, is_cover = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    if len(triggered):
        changed = trigger(images[triggered])
        require_triggered(changed, images[triggered])
        images_out[triggered], labels_out[triggered] = changed, relabeled[triggered]
        is_triggered[triggered] = True
    if len(cover):
        images_out[cover] = trigger.cover_sample(images[cover], images.roll(1, 0)[cover], generator)
        is_cover[cover] = True
    return Mixed(images_out, labels_out, is_triggered, is_cover)


def draw_counts(size: int, poison_rate: float, cover_ratio: float, generator: Generator) -> tuple[int, int]:
    """How many of `size` images are triggered, and how many become cover samples, rounded up or down at random.

    So the poison rate holds over an epoch even where it is less than one image a batch.
    """
    triggered = int(poison_rate * size + torch.rand((), generator=generator).item())
    cover = int(cover_ratio * poison_rate * size + torch.rand((), generator=generator).item())
    return triggered, cover


@torch.no_grad()
def frozen_set(data: ImageSet, trigger: CoveredTrigger, relabel: Relabel, *, poison_rate: float, cover_ratio: float,
               seed: int, batch_size: int = 500) -> Poisoned:  # fmt: skip
    """One epoch of the attack as a stored set: triggered images, cover samples and clean images, in their old places.

    This is not the same attack. What training saw anew in every batch is one fixed set here, and usually weaker.
    Defenses that train from scratch can face only such a set. Only triggered images are flagged. Raises
    ParameterError when there are too few images whose label the attack changes.
    """
    generator = Generator().manual_seed(seed)
    pool = candidates(data.labels, relabel)
    pool = pool[torch.randperm(len(pool), generator=generator)].to(data.labels.device)
    count, cover_count = round(poison_rate * len(data)), round(cover_ratio * poison_rate * len(data))
    if count + cover_count > len(pool):
        raise ParameterError(f"poison_rate={poison_rate}: needs {count + cover_count} of {len(pool)} images")
    images, labels = data.images.clone(), data.labels.clone()
    is_poisoned = torch.zeros_like(labels, dtype=torch.bool)
    triggered, cover = pool[:count], pool[count : count + cover_count]
    for ids in triggered.split(batch_size):
        images[ids] = apply_trigger(data.images[ids], trigger)
    if count:
        require_change(data.images[triggered], images[triggered], trigger)
    for ids in cover.split(batch_size):
        others = data.images[(ids + 1) % len(data)].float() / 255
        images[ids] = as_pixels(trigger.cover_sample(data.images[ids].float() / 255, others, generator))
    labels[triggered], is_poisoned[triggered] = relabel(data.labels[triggered]), True
    return Poisoned(ImageSet(images, labels), is_poisoned)
