"""Static triggers: small frozen objects that turn clean images into triggered ones.

Each is a `Trigger`: called on images of shape (n, c, h, w) with pixels in [0, 1], it returns new images of the
same shape and range. Its fields are its whole configuration, so its `repr` records the attack.
"""

from dataclasses import dataclass
from math import pi

import torch
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


TRIGGERS: dict[str, Trigger] = {
    "none": NoTrigger(),
    "badnets": BadNets(),
    "blended": Blended(),
    "sig": SIG(),
    "low_frequency": LowFrequency(),
}
CLEAN_LABEL = frozenset({"sig"})  # attacks that poison images of the target class only, labels untouched
