"""BPP: pixels rounded to a few levels. Wang, Zhai and Ma, CVPR 2022, arXiv:2205.13383.

Without dithering, as BackdoorBench has it. Its cover samples are negative samples: images with what rounding does to
another image.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Generator

from bdlib.attacks.training_controlled import TrainingControlled
from bdlib.checks import CheckedFields
from bdlib.types import Images


@dataclass(frozen=True)
class BPP(CheckedFields):
    """The trigger: every pixel rounded to the nearest of `levels` values from 0 to 1."""

    levels: Annotated[int, Field(ge=2, le=256)] = 8

    def __call__(self, images: Images) -> Images:
        return (images * (self.levels - 1)).round() / (self.levels - 1)

    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """Negative samples: each image with what rounding does to another one."""
        return (images + self(others) - others).clamp(0, 1)


# Half as many levels on gray images, since one channel in place of three shows less of the rounding.
ATTACK = TrainingControlled(NUMBERS_VERSION=1, trigger=BPP(), gray_trigger=BPP(levels=4), cover_ratio=1.0)
