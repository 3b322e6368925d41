"""SIG: a horizontal sine wave, seen as vertical stripes. Barni, Kallas and Tondi, ICIP 2019, arXiv:1902.11237.

In training only images of the target class carry it, and no label is changed.
"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.checks import CheckedFields
from bdlib.types import Images


@dataclass(frozen=True)
class SIG(CheckedFields):
    """The trigger: x + delta sin(2 pi f j / w) at column j of w, clipped to [0, 1]."""

    STRENGTH: ClassVar[str] = "delta"  # the field that `Attack.scaled` multiplies
    delta: ranges.Fraction = 40 / 255  # amplitude; BackdoorBench's value
    frequency: ranges.Count = 6  # f, cycles per image width

    def __call__(self, images: Images) -> Images:
        w = images.shape[-1]
        wave = torch.sin(2 * pi * self.frequency * torch.arange(w, device=images.device) / w)
        return (images + self.delta * wave).clamp(0, 1)


ATTACK = Attack(NUMBERS_VERSION=1, trigger=SIG(), clean_label=True)
