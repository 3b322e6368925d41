"""Triggers put on stored images: single ones, and the triggered test set."""

from bdlib.data.images import ImageSet
from bdlib.types import Pixels, Trigger


def apply_trigger(pixels: Pixels, trigger: Trigger) -> Pixels:
    """Apply a trigger, which works on [0, 1], to stored 8-bit images."""
    return trigger(pixels.float() / 255).mul(255).round().clamp(0, 255).byte()


def triggered_set(test: ImageSet, trigger: Trigger, *, target_label: int) -> ImageSet:
    """Every test image of another class, stamped, with its true label kept.

    Attack success (predicted the target) and robust accuracy (predicted the truth) are both read off it.
    """
    others = test[test.labels != target_label]
    return ImageSet(apply_trigger(others.images, trigger), others.labels)
