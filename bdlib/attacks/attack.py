"""What every attack is: one object that answers all that the rest of the library asks about it."""

import functools
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Generator, nn

from bdlib import ranges
from bdlib.attacks.poisoning import Poisoned, Positions, draw_positions, poison_at
from bdlib.checks import CheckedFields, ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.training.loop import Schedule, train
from bdlib.types import MakeModel, MovedModel, OnEvent, Relabel, Trigger, ignore


@dataclass(frozen=True, kw_only=True)
class Attack(CheckedFields):
    """An attack that puts one fixed trigger on stored images, once, before any training.

    Attacks of another kind are subclasses; their own settings are further fields. Those with an optimized trigger
    override `blank` and `fit`, those that change images before the trigger `poison`, training-controlled ones both
    `poison` and `train_victim`.

    Example: `ATTACKS["badnets"].poison(train, BadNets(), AllToOne(0), poison_rate=0.1, seed=0)`
    """

    # Raise it when a change to the attack changes its images, its trigger or its victims.
    NUMBERS_VERSION: Annotated[int, Field(ge=0)]
    trigger: Trigger | None = None  # None where `fit` makes it, or the victim's training
    gray_trigger: Trigger | None = None  # in place of `trigger` on images of one channel
    clean_label: bool = False  # poisons images of the target class alone and changes no label
    poisons: bool = True  # False of "none", whose victim is the clean model
    cover_ratio: ranges.Weight = 0.0  # cover samples for each triggered image; 0 where there are none

    training_controlled: ClassVar[bool] = False  # triggers other images in every batch of the victim's training
    trains_trigger_with_victim: ClassVar[bool] = False  # so that `train_victim` makes the trigger
    smallest_image: ClassVar[int] = 1  # pixels, height and width
    image_sizes: ClassVar[int] = 1  # pixels; it takes images whose height and width are a multiple
    square_images: ClassVar[bool] = False  # it takes no others

    def fixed_trigger(self, channels: int) -> Trigger | None:
        """The trigger for images of so many channels, where nothing has to be fitted for it; else None."""
        return self.gray_trigger if channels == 1 and self.gray_trigger is not None else self.trigger

    def scaled(self, strength: float) -> "Attack":
        """The same attack with `strength` times its trigger's brightness, weight or amplitude.

        Raises ParameterError where the trigger has no such setting, and where the product is out of its range.

        Example: `ATTACKS["blended"].scaled(2.0).trigger` is `Blended(alpha=0.4)`
        """
        if (name := getattr(self.trigger, "STRENGTH", None)) is None:
            raise ParameterError(f"trigger_strength={strength}: must be 1 for an attack whose trigger has no strength")
        value = strength * getattr(self.trigger, name)
        try:
            return replace(self, trigger=replace(cast(Any, self.trigger), **{name: value}))
        except ParameterError as error:
            raise ParameterError(f"trigger_strength={strength}: {error}") from None

    def misfit(self, shape: tuple[int, ...]) -> str:
        """Why it cannot attack images of `shape` (c, h, w), as "must have ..."; "" where it can.

        A fixed trigger must also change an image of noise: SIG's wave is 0 at each of 12 columns.
        """
        height, width = shape[1:]
        given = f", not {height} x {width}"
        if min(height, width) < self.smallest_image:
            return f"must have images of {self.smallest_image} x {self.smallest_image} pixels or more{given}"
        if height % self.image_sizes or width % self.image_sizes:
            return f"must have images of a multiple of {self.image_sizes} pixels{given}"
        if self.square_images and height != width:
            return f"must have square images{given}"
        trigger = self.fixed_trigger(shape[0]) if self.poisons else None
        if trigger is None:
            return ""
        tried = _misfit_of if isinstance(trigger, Hashable) else _misfit_of.__wrapped__
        return tried(trigger, shape)

    def blank(self, shape: tuple[int, int, int], make_model: MakeModel) -> nn.Module:
        """The trigger that `fit` or `train_victim` returns for images of `shape` (c, h, w), but with other weights.

        Weights that were stored are loaded into it. `make_model` is the one that `fit` is given.
        """
        raise TypeError(f"{type(self).__name__} has a fixed trigger: there are no weights to load")

    @checked
    def fit(self, train: ImageSet, make_model: MakeModel, *, augmentation: ranges.Augmentation,
            seed: ranges.DerivedSeed) -> Trigger:  # fmt: skip
        """The trigger, made from clean images before any poisoning; a fixed one needs no images.

        `make_model` builds the attacker's own network, `augmentation` (pixels) is for its training.
        """
        trigger = self.fixed_trigger(train.images.shape[1])
        if trigger is None:
            raise TypeError(f"{type(self).__name__} has no fixed trigger, and no `fit` that makes one")
        return trigger

    @checked
    def poison(self, train: ImageSet, trigger: Trigger, relabel: Relabel, *, poison_rate: ranges.Fraction,
               seed: ranges.Seed, ids: Positions | None = None) -> Poisoned:  # fmt: skip
        """The training set as the attacker hands it over.

        `poison_rate` is a share of all images, for clean-label attacks of the target class. The images are drawn from
        `seed`, unless a selection has found their positions, `ids`. Raises ParameterError when there are too few.
        """
        if ids is None:
            rate = poison_rate if self.poisons else 0.0
            ids = draw_positions(train.labels, relabel, poison_rate=rate, seed=seed, clean_label=self.clean_label)
        return poison_at(train, trigger, relabel, ids)

    @checked
    def train_victim(
        self, model: MovedModel, data: ImageSet, trigger: Trigger | None, relabel: Relabel, schedule: Schedule, *,
        poison_rate: ranges.Fraction, ids: Positions | None = None, on_event: OnEvent = ignore, compiled: bool = False,
    ) -> Trigger:  # fmt: skip
        """Train `model` in place from the clean `data`, as the attack has it; in evaluation mode afterwards.

        Returns the trigger; `trigger` is None where it is trained with the victim. `schedule.seed` also draws the
        images to poison. `on_event` and `compiled` are those of `bdlib.training.loop.train`.
        """
        if trigger is None:
            raise ParameterError(f"trigger=None: must be a trigger; {type(self).__name__} makes none in training")
        poisoned = self.poison(data, trigger, relabel, poison_rate=poison_rate, seed=schedule.seed, ids=ids)
        train(model, poisoned.data, schedule, on_event=on_event, compiled=compiled)
        return trigger


@functools.lru_cache(maxsize=1024)  # each planned run asks
def _misfit_of(trigger: Trigger, shape: tuple[int, ...]) -> str:
    """Why a fixed trigger does not suit images of `shape` (c, h, w), found by putting it on noise; "" where it does."""
    size = f"{shape[1]} x {shape[2]}"
    noise = torch.randint(256, (1, *shape), generator=Generator().manual_seed(0), dtype=torch.uint8)
    try:
        if torch.equal(apply_trigger(noise, trigger), noise):
            return f"must have images that its trigger changes; those of {size} pixels it does not"
    except ParameterError as error:
        return f"must have images that its trigger fits, not {size}; {error}"
    return ""
