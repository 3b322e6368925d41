"""Pruning by mask: every filter whose mask is low is switched off. The last step of ANP and of RNP."""

from collections.abc import Mapping

from torch import nn

from bdlib.data import ImageSet
from bdlib.evaluate import predict, share
from bdlib.filters import PerFilter, pruned

Masks = Mapping[str, PerFilter]  # a number in [0, 1] for each filter, by BatchNorm layer
THRESHOLDS = tuple(step / 20 for step in range(19))  # 0, 0.05, ..., 0.9: the sweep of both released codes


def choose_threshold(model: nn.Module, masks: Masks, clean: ImageSet, *, allowed_drop: float) -> float:
    """The largest threshold of the sweep that costs at most `allowed_drop` of accuracy on `clean`; -1 if none does."""
    floor = share(predict(model, clean) == clean.labels) - allowed_drop
    kept = (t for t in reversed(THRESHOLDS) if share(predict(prune(model, masks, t), clean) == clean.labels) >= floor)
    return next(kept, -1.0)


def prune(model: nn.Module, masks: Masks, threshold: float) -> nn.Module:
    """A copy of `model` in which filters with a mask of at most `threshold` give out their BatchNorm bias alone."""
    return pruned(model, {name: mask > threshold for name, mask in masks.items()})
