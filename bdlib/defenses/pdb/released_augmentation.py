"""What the released code of PDB does to images with the defensive trigger, before crop and mirroring.

Wei, Zha & Wu, NeurIPS 2024, arXiv:2405.16112; we did not see the paper's own augmentation. The released code's third
step, added noise, is left out: its strength is zero as shipped.
"""

from math import radians

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bdlib.types import Images

DIMMED = 0.2  # share of the images that are dimmed, to between half of their brightness and all of it
ROTATED = 0.5  # share of the images that are rotated
DEGREES = 10.0  # largest rotation, to either side


def dim_and_rotate(images: Images, generator: Generator) -> Images:
    """New images, some dimmed and some rotated at random; corners that a rotation uncovers are black.

    The random numbers are drawn on the CPU. A trigger of value 2 is then worth 1 to 2.

    Example::

        varied = dim_and_rotate(trigger(images), Generator().manual_seed(0))
    """
    draws = torch.rand(4, len(images), generator=generator).to(images)
    brightness = torch.where(draws[0] < DIMMED, (1 + draws[1]) / 2, 1.0)
    angles = torch.where(draws[2] < ROTATED, (2 * draws[3] - 1) * radians(DEGREES), 0.0)
    return rotate(images * brightness[:, None, None, None], angles)


def rotate(images: Images, angles: Tensor) -> Images:
    """Each image turned about its middle by its angle in radians, shape (n,); every pixel is the nearest one's."""
    height, width = images.shape[-2:]
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    rows = [cosine, -sine * height / width, zero, sine * width / height, cosine, zero]
    grid = F.affine_grid(torch.stack(rows, 1).unflatten(1, (2, 3)), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
