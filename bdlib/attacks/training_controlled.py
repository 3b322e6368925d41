"""Attacks that train_input_aware training: in every batch some images are triggered anew, and some are cover_samples.

Companions look almost triggered and keep their true labels, so that only the exact trigger works: noise (WaNet),
another image's trigger (Input-aware), another image's residual (BPP). Augmentation comes after the trigger.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import ImageSet, augment
from bdlib.training.loop import Schedule, train
from bdlib.types import Batch, Images, Labels, Loss, OnEvent, ignore

Relabel: TypeAlias = Callable[[Labels], Labels]  # the label that the attack wants in place of each true one


@runtime_checkable
class TrainingControlledTrigger(Protocol):
    """A trigger that comes with cover_samples, `cover_samples` of them for each triggered image."""

    @property
    def cover_samples(self) -> float: ...
    def __call__(self, images: Images) -> Images: ...
    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images: ...


class Mixed(NamedTuple):
    """A batch of which some images are triggered, and some cover_samples."""

    images: Images
    labels: Labels
    triggered: Bool[Tensor, " n"]
    cover_samples: Bool[Tensor, " n"]


def mix(
    images: Images,
    labels: Labels,
    trigger: TrainingControlledTrigger,
    relabel: Relabel,
    *,
    counts: tuple[int, int],
    generator: Generator,
) -> Mixed:
    """The first images whose label the attack changes, `counts` of them, triggered and cover_samples; the rest as it is.

    The images must come in random order. `others`, which some cover_samples need, are the images themselves, one
    further on.
    """
    wanted = relabel(labels)
    able = (wanted != labels).nonzero().squeeze(1)
    hit, near = able[: counts[0]], able[counts[0] : sum(counts)]
    mixed, answers = images.clone(), labels.clone()
    is_hit, is_near = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    if len(hit):
        mixed[hit], answers[hit], is_hit[hit] = trigger(images[hit]), wanted[hit], True
    if len(near):
        mixed[near], is_near[near] = trigger.cover_sample(images[near], images.roll(1, 0)[near], generator), True
    return Mixed(mixed, answers, is_hit, is_near)


def draw_counts(size: int, poison_rate: float, cover_samples: float, generator: Generator) -> tuple[int, int]:
    """How many of `size` images are triggered, and cover_samples: the rate's share, rounded up or down at random.

    So that the rate holds over an epoch even where it is less than one image a batch.
    """
    hit = int(poison_rate * size + torch.rand((), generator=generator).item())
    near = int(cover_samples * poison_rate * size + torch.rand((), generator=generator).item())
    return hit, near


def train_controlled(
    model: nn.Module,
    data: ImageSet,
    schedule: Schedule,
    trigger: TrainingControlledTrigger,
    relabel: Relabel,
    *,
    poison_rate: float,
    cover_samples: bool = True,
    penalty: Callable[[Images, Mixed], Loss] | None = None,
    optimizer: Optimizer | None = None,
    on_event: OnEvent = ignore,
    compiled: bool = False,
) -> nn.Module:
    """Train `model` in place as the attacker does, triggering part of each batch; in evaluation mode afterwards.

    `penalty(images, mixed)` is added to the cross-entropy; without `cover_samples` there are none.
    """
    generator = Generator().manual_seed(schedule.seed)
    share = trigger.cover_samples if cover_samples else 0.0

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        counts = draw_counts(len(batch.labels), poison_rate, share, generator)
        mixed = mix(batch.images, batch.labels, trigger, relabel, counts=counts, generator=generator)
        loss = F.cross_entropy(network(augment(mixed.images, schedule.augmentation, generator)), mixed.labels)
        return loss if penalty is None else loss + penalty(batch.images, mixed)

    return train(model, data, replace(schedule, augmentation=None), loss_fn=loss_fn, optimizer=optimizer, on_event=on_event,
                 compiled=compiled)  # fmt: skip


@torch.no_grad()
def frozen(
    data: ImageSet,
    trigger: TrainingControlledTrigger,
    relabel: Relabel,
    *,
    poison_rate: float,
    cover_samples: bool = True,
    seed: int,
    batch_size: int = 500,
) -> Poisoned:
    """One epoch of the attack as a stored data set: triggered, cover_sample and clean images, rounded to 8 bits.

    Not the same attack: what training saw anew in every batch is one fixed set here, and usually weaker. It is what
    defences that train from scratch can face. Only triggered images are flagged. Images keep their places.
    """
    generator = Generator().manual_seed(seed)
    wanted = relabel(data.labels)
    able = (wanted != data.labels).cpu().nonzero().squeeze(1)
    able = able[torch.randperm(len(able), generator=generator)].to(data.labels.device)
    hit_count = round(poison_rate * len(data))
    near_count = round(trigger.cover_samples * poison_rate * len(data)) if cover_samples else 0
    if hit_count + near_count > len(able):
        raise ValueError(f"poison_rate={poison_rate}: needs {hit_count + near_count} of {len(able)} images")
    images, labels, flags = data.images.clone(), data.labels.clone(), torch.zeros_like(data.labels, dtype=torch.bool)
    hit, near = able[:hit_count], able[hit_count : hit_count + near_count]
    for ids in hit.split(batch_size):
        images[ids] = stored(trigger(data.images[ids].float() / 255))
    for ids in near.split(batch_size):
        others = data.images[(ids + 1) % len(data)].float() / 255
        images[ids] = stored(trigger.cover_sample(data.images[ids].float() / 255, others, generator))
    labels[hit], flags[hit] = wanted[hit], True
    return Poisoned(ImageSet(images, labels), flags)


def stored(images: Images) -> Tensor:
    """Images as a file keeps them."""
    return images.mul(255).round().clamp(0, 255).byte()
