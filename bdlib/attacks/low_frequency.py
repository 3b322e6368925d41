"""Low frequency: one smooth pattern added to the image. Zeng, Park, Mao and Jia, ICCV 2021, arXiv:2104.03413.

The original pattern is a universal perturbation that is found on a trained network and smoothed. This light version is
a seeded sum of the six lowest non-constant cosine modes, scaled to [0, amplitude] as the released pattern is. It is
brighter: its mean is 22 of 255 grey levels, that of the released pattern for CIFAR-10 12.5, and its energy about twice
as large. It keeps the amplitude, which is what the paper's pattern is bounded by; the page on attacks shows 0.7 of it.
"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.checks import CheckedFields
from bdlib.types import Images

_LOWEST_MODES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2))  # (vertical, horizontal) half-waves


@dataclass(frozen=True)
class LowFrequency(CheckedFields):
    """The trigger: x plus the pattern, clipped to [0, 1]."""

    STRENGTH: ClassVar[str] = "amplitude"  # the field that `Attack.scaled` multiplies
    amplitude: ranges.Fraction = 0.2
    seed: ranges.Seed = 0  # of the modes' weights

    def __call__(self, images: Images) -> Images:
        return (images + self.pattern(*images.shape[1:]).to(images)).clamp(0, 1)

    def pattern(self, channels: int, height: int, width: int) -> Tensor:
        """The added pattern, shape (c, h, w), values in [0, amplitude]."""
        rows = pi * (torch.arange(height) + 0.5)[:, None] / height
        columns = pi * (torch.arange(width) + 0.5)[None, :] / width
        modes = torch.stack([(u * rows).cos() * (v * columns).cos() for u, v in _LOWEST_MODES])
        weights = torch.randn(channels, len(modes), generator=Generator().manual_seed(self.seed))
        field = (weights @ modes.flatten(1)).unflatten(1, (height, width))
        low, high = field.aminmax(dim=2, keepdim=True)
        low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)
        return self.amplitude * (field - low) / (high - low)


ATTACK = Attack(NUMBERS_VERSION=1, trigger=LowFrequency())
