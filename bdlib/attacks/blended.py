"""Blended: one fixed picture mixed into the whole image. Chen, Liu, Li, Lu and Song 2017, arXiv:1712.05526.

The cartoon of the original experiments is replaced by seeded uniform noise, which needs no license.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.checks import CheckedFields
from bdlib.types import Images


@dataclass(frozen=True)
class Blended(CheckedFields):
    """The trigger: (1 - alpha) x + alpha r, with a fixed picture r."""

    STRENGTH: ClassVar[str] = "alpha"  # the field that `Attack.scaled` multiplies
    alpha: ranges.Fraction = 0.2  # weight of the picture
    seed: ranges.Seed = 0  # of the picture

    def __call__(self, images: Images) -> Images:
        picture = torch.rand(images.shape[1:], generator=Generator().manual_seed(self.seed))
        return torch.lerp(images, picture.to(images).expand_as(images), self.alpha)


ATTACK = Attack(NUMBERS_VERSION=1, trigger=Blended())
