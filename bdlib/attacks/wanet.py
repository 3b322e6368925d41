"""WaNet: the image bent by one smooth random field. Nguyen and Tran, ICLR 2021, arXiv:2102.10369.

Its cover samples are noise samples: images bent by the field and a jitter of their own.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from bdlib import ranges
from bdlib.attacks.training_controlled import TrainingControlled
from bdlib.checks import CheckedFields
from bdlib.types import Images


@dataclass(frozen=True)
class WaNet(CheckedFields):
    """The trigger: each pixel is read from where the field says.

    `strength` 1 moves pixels by half a pixel on average, whatever the image's size.
    """

    strength: ranges.Radius = 0.5  # s; BackdoorBench's, as the grid
    grid: Annotated[int, Field(ge=2, le=64)] = 4  # k, the field's control points a side
    seed: ranges.Seed = 0  # of the field

    def __call__(self, images: Images) -> Images:
        return _read_at(images, self.field(*images.shape[-2:]).to(images).expand(len(images), -1, -1, -1))

    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """Noise samples: every image bent by the field and a jitter of its own, of up to half a pixel."""
        h, w = images.shape[-2:]
        jitter = 2 * torch.rand(len(images), h, w, 2, generator=generator) - 1
        return _read_at(images, (self.field(h, w) + jitter / h).clamp(-1, 1).to(images))

    def field(self, height: int, width: int) -> Tensor:
        """Where each pixel is read from: shape (1, h, w, 2), columns before rows, the image from -1 to 1."""
        control = 2 * torch.rand(1, 2, self.grid, self.grid, generator=Generator().manual_seed(self.seed)) - 1
        control = control / control.abs().mean()
        shift = F.interpolate(control, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        identity = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        return (identity + self.strength * shift / height).clamp(-1, 1)


def _read_at(images: Images, field: Tensor) -> Images:
    """The images, each pixel read where `field` says, by bilinear interpolation."""
    return F.grid_sample(images, field, mode="bilinear", padding_mode="zeros", align_corners=True).clamp(0, 1)


# On small gray images, in a short training run, pixels move by a whole pixel: a quarter changes little where most
# neighbors are alike.
ATTACK = TrainingControlled(NUMBERS_VERSION=1, trigger=WaNet(), gray_trigger=WaNet(strength=2.0), cover_ratio=2.0)
