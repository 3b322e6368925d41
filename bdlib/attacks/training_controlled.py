"""Training-controlled attacks: in every batch of the victim's training some images are triggered anew.

Some others become cover samples. Augmentation comes after the trigger.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, nn

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.attacks.cover_samples import CoveredTrigger, draw_counts, frozen_set, mix
from bdlib.attacks.poisoning import Poisoned, Positions
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet, augment
from bdlib.training.loop import Epoch, Schedule, steps
from bdlib.types import Batch, Loss, MovedModel, OnEvent, Relabel, Trigger, ignore
from bdlib.words import shown


@dataclass(frozen=True, kw_only=True)
class TrainingControlled(Attack):
    """An attack with a fixed trigger, which it puts on other images in every batch of the victim's training."""

    training_controlled: ClassVar[bool] = True

    @checked
    def poison(self, train: ImageSet, trigger: Trigger, relabel: Relabel, *, poison_rate: ranges.Fraction,
               seed: ranges.Seed, ids: Positions | None = None) -> Poisoned:  # fmt: skip
        """One epoch of the attack as a stored set, `frozen_set`; images cannot be selected, so `ids` must be None."""
        covered = as_covered(trigger, ids)
        return frozen_set(train, covered, relabel, poison_rate=poison_rate, cover_ratio=self.cover_ratio, seed=seed)

    @checked
    def train_victim(
        self, model: MovedModel, data: ImageSet, trigger: Trigger | None, relabel: Relabel, schedule: Schedule, *,
        poison_rate: ranges.Fraction, ids: Positions | None = None, on_event: OnEvent = ignore, compiled: bool = False,
    ) -> Trigger:  # fmt: skip
        """As `Attack.train_victim`; `poison_rate` is the share of every batch that is triggered."""
        covered, generator = as_covered(trigger, ids), Generator().manual_seed(schedule.seed)
        turns = steps(model, data, replace(schedule, augmentation=None))
        forward: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
        for batch, step in turns:
            step(lambda: self.loss(forward, batch, covered, relabel, poison_rate, schedule.augmentation, generator))
            if step.ends_epoch:
                on_event("epoch", Epoch(step.epoch, step.mean_loss, model))
        return covered

    def loss(self, model: nn.Module, batch: Batch, trigger: CoveredTrigger, relabel: Relabel, poison_rate: float,
             augmentation: int | None, generator: Generator) -> Loss:  # fmt: skip
        """Cross-entropy on the batch as the attacker changes and relabels it, augmented afterwards."""
        counts = draw_counts(len(batch.labels), poison_rate, self.cover_ratio, generator)
        mixed = mix(batch.images, batch.labels, trigger, relabel, counts=counts, generator=generator)
        return F.cross_entropy(model(augment(mixed.images, augmentation, generator)), mixed.labels)


def as_covered(trigger: Trigger | None, ids: Positions | None = None) -> CoveredTrigger:
    """`trigger` itself. Raises ParameterError when it has no cover samples, or when images were selected."""
    if not isinstance(trigger, CoveredTrigger):
        raise ParameterError(f"trigger={shown(trigger)}: must have cover samples for a training-controlled attack")
    if ids is not None:
        raise ParameterError("ids: must be None for a training-controlled attack, which draws images in every batch")
    return trigger
