"""Triggers put on stored images, the labels that an attack wants for them, and the triggered test set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field

from bdlib.checks import CheckedFields, ParameterError, checked
from bdlib.data.fit import triggered, wanted_labels
from bdlib.data.images import ImageSet
from bdlib.types import Images, Labels, Pixels, Relabel, Trigger

TargetLabel = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class AllToOne(CheckedFields):
    """Relabeling to a single target class."""

    target_label: TargetLabel

    def __call__(self, labels: Labels) -> Labels:
        return torch.full_like(labels, self.target_label)


@dataclass(frozen=True)
class AllToAll(CheckedFields):
    """Relabeling of every class to the next: label y becomes (y + 1) mod K. There is no single target."""

    num_classes: Annotated[int, Field(ge=2)]

    def __call__(self, labels: Labels) -> Labels:
        return (labels + 1) % self.num_classes


# Each makes a relabeling from the target label and the number of classes, and uses the one that it needs.
LABEL_MAPS: dict[str, Callable[[int, int], Relabel]] = {
    "all_to_one": lambda target_label, num_classes: AllToOne(target_label),
    "all_to_all": lambda target_label, num_classes: AllToAll(num_classes),
}


@checked
def apply_trigger(pixels: Pixels, trigger: Trigger) -> Pixels:
    """Stored 8-bit images, shape (n, c, h, w), with a trigger, which itself works on pixels in [0, 1].

    What is a little outside [0, 1], as after adding a pattern, is clipped. Raises ParameterError for a trigger that
    returns no such images.
    """
    return as_pixels(triggered(pixels, trigger))


def as_pixels(images: Images) -> Pixels:
    """Images in [0, 1] rounded to 8 bits, as they are stored."""
    return images.mul(255).round().clamp(0, 255).byte()


class AttackedSet(NamedTuple):
    """The test images whose label an attack changes."""

    clean: ImageSet
    triggered: ImageSet  # the same images with the trigger, and their true labels
    wanted: Labels  # what the attacker wants them to be classified as


@checked
def attacked_set(test: ImageSet, trigger: Trigger, relabel: Relabel) -> AttackedSet:
    """The images of `test` that `relabel` gives another label, without and with the trigger.

    Raises ParameterError where there are none, and for a trigger or a relabeling that is none.

    Example: `attacked_set(test, BadNets(), AllToAll(10)).triggered` holds every test image with the square.
    """
    wanted = wanted_labels(test.labels, relabel)
    changes = wanted != test.labels
    if not changes.any():
        raise ParameterError("test: holds no image whose label the attack changes, so there is no attack success rate")
    clean = test[changes]
    return AttackedSet(clean, ImageSet(apply_trigger(clean.images, trigger), clean.labels), wanted[changes])


@checked
def triggered_set(test: ImageSet, trigger: Trigger, *, target_label: TargetLabel) -> ImageSet:
    """Every test image of another class than the target, with the trigger and its true label.

    Attack success (predicted as the target) and robust accuracy (predicted correctly) are both measured on it.
    """
    return attacked_set(test, trigger, AllToOne(target_label)).triggered
