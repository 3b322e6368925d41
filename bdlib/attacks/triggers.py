"""Static triggers: small frozen objects that turn clean images into triggered ones.

Each is a `Trigger`: called on images of shape (n, c, h, w) with pixels in [0, 1], it returns new images of the
same shape and range. Its fields are its whole configuration, so its `repr` records the attack.
"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bdlib.types import Images, Trigger


@dataclass(frozen=True)
class BadNets:
    """A solid square in the bottom-right corner. Gu et al. 2017, arXiv:1708.06733."""

    size: int = 3  # pixels
    value: float = 1.0  # brightness
    margin: int = 0  # pixels from the border

    def __call__(self, images: Images) -> Images:
        h, w = images.shape[-2:]
        bottom, right = h - self.margin, w - self.margin
        triggered = images.clone()
        triggered[..., bottom - self.size : bottom, right - self.size : right] = self.value
        return triggered


@dataclass(frozen=True)
class Blended:
    """Mix in one fixed picture. Chen et al. 2017, arXiv:1712.05526.

    The cartoon of the original experiments is replaced by seeded uniform noise, which needs no licence.
    """

    alpha: float = 0.2  # weight of the picture, in [0, 1]
    seed: int = 0  # of the picture

    def __call__(self, images: Images) -> Images:
        picture = torch.rand(images.shape[1:], generator=Generator().manual_seed(self.seed))
        return torch.lerp(images, picture.to(images).expand_as(images), self.alpha)


@dataclass(frozen=True)
class SIG:
    """Add a horizontal sine wave, seen as vertical stripes. Barni et al., ICIP 2019, arXiv:1902.11237.

    A clean-label attack: in training only images of the target class carry it, and no label is changed.
    """

    delta: float = 40 / 255  # amplitude; BackdoorBench's value
    frequency: int = 6  # cycles per image width

    def __call__(self, images: Images) -> Images:
        w = images.shape[-1]
        wave = torch.sin(2 * pi * self.frequency * torch.arange(w, device=images.device) / w)
        return (images + self.delta * wave).clamp(0, 1)


@dataclass(frozen=True)
class LowFrequency:
    """Add one smooth pattern. Zeng et al., ICCV 2021.

    The original pattern is a universal perturbation found on a trained network and smoothed. This light version is a
    seeded sum of the six lowest non-constant cosine modes, scaled to [0, amplitude] as the released pattern is.
    """

    amplitude: float = 0.2
    seed: int = 0  # of the modes' weights

    def __call__(self, images: Images) -> Images:
        return (images + self.pattern(*images.shape[1:]).to(images)).clamp(0, 1)

    def pattern(self, channels: int, height: int, width: int) -> Tensor:
        """The added pattern, shape (c, h, w), values in [0, amplitude]."""
        rows = pi * (torch.arange(height) + 0.5)[:, None] / height
        columns = pi * (torch.arange(width) + 0.5)[None, :] / width
        modes = torch.stack([(u * rows).cos() * (v * columns).cos() for u, v in LOWEST_MODES])
        weights = torch.randn(channels, len(modes), generator=Generator().manual_seed(self.seed))
        field = (weights @ modes.flatten(1)).unflatten(1, (height, width))
        low, high = field.aminmax(dim=2, keepdim=True)
        low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)
        return self.amplitude * (field - low) / (high - low)


LOWEST_MODES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2))  # (vertical, horizontal) half-waves


@dataclass(frozen=True)
class NoTrigger:
    """The identity. With it a victim is never poisoned: the clean twin that prices a defence."""

    def __call__(self, images: Images) -> Images:
        return images.clone()


@dataclass(frozen=True)
class Corners:
    """Add a 3 x 3 chequerboard of +1 and -1 to each corner. Turner et al. 2019, arXiv:1912.02771.

    The trigger of the label-consistent attack. Test images get only this, training images of the target class are
    first made hard to recognise (bdlib.attacks.label_consistent). Equal corners survive mirroring.
    """

    amplitude: float = 1.0  # of the added values; the released code's

    def __call__(self, images: Images) -> Images:
        board = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]], device=images.device)
        added = torch.zeros_like(images)
        for rows in (slice(None, 3), slice(-3, None)):
            for columns in (slice(None, 3), slice(-3, None)):
                added[..., rows, columns] = self.amplitude * board
        return (images + added).clamp(0, 1)


@dataclass(frozen=True)
class WaNet:
    """Bend the image by one smooth random field. Nguyen & Tran, ICLR 2021, arXiv:2102.10369.

    `strength` 1 moves pixels by half a pixel on average, whatever the image's size.
    """

    strength: float = 0.5  # s; BackdoorBench's, as the grid
    grid: int = 4  # k, the field's control points a side
    seed: int = 0  # of the field
    cover_samples: ClassVar[float] = 2.0  # noise samples for each triggered one

    def __call__(self, images: Images) -> Images:
        return sampled(images, self.field(*images.shape[-2:]).to(images).expand(len(images), -1, -1, -1))

    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """Noise mode: every image bent by the field and a jitter of its own, of up to half a pixel."""
        h, w = images.shape[-2:]
        jitter = 2 * torch.rand(len(images), h, w, 2, generator=generator) - 1
        return sampled(images, (self.field(h, w) + jitter / h).clamp(-1, 1).to(images))

    def field(self, height: int, width: int) -> Tensor:
        """Where each pixel is read from: shape (1, h, w, 2), columns before rows, the image from -1 to 1."""
        control = 2 * torch.rand(1, 2, self.grid, self.grid, generator=Generator().manual_seed(self.seed)) - 1
        control = control / control.abs().mean()
        shift = F.interpolate(control, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        identity = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        return (identity + self.strength * shift / height).clamp(-1, 1)


def sampled(images: Images, field: Tensor) -> Images:
    """The images, read at the places that `field` names."""
    return F.grid_sample(images, field, mode="bilinear", padding_mode="zeros", align_corners=True).clamp(0, 1)


@dataclass(frozen=True)
class BPP:
    """Round pixels to a few levels. Wang et al., CVPR 2022, arXiv:2205.13383; without dithering, as BackdoorBench."""

    levels: int = 8
    cover_samples: ClassVar[float] = 1.0  # negative samples for each triggered one

    def __call__(self, images: Images) -> Images:
        return (images * (self.levels - 1)).round() / (self.levels - 1)

    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """Negative samples: each image with what rounding does to another one."""
        return (images + self(others) - others).clamp(0, 1)


TRIGGERS: dict[str, Trigger] = {
    "none": NoTrigger(),
    "badnets": BadNets(),
    "blended": Blended(),
    "sig": SIG(),
    "low_frequency": LowFrequency(),
    "label_consistent": Corners(),
    "wanet": WaNet(),
    "bpp": BPP(),
}
# On small gray images, in a short training run: a mean shift of a whole pixel, as a quarter of one changes little
# where most neighbours are alike; and half as many levels, as one channel in place of three shows the rounding.
GRAY: dict[str, Trigger] = {"wanet": WaNet(strength=2.0), "bpp": BPP(levels=4)}
CLEAN_LABEL = frozenset(
    {"sig", "label_consistent"}
)  # attacks that poison images of the target class only, labels untouched
