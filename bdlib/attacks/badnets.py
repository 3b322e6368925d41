"""BadNets: a solid square in the corner. Gu, Dolan-Gavitt and Garg 2017, arXiv:1708.06733."""

from dataclasses import dataclass
from typing import ClassVar

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.checks import CheckedFields, ParameterError
from bdlib.types import Images


@dataclass(frozen=True)
class BadNets(CheckedFields):
    """The trigger: a solid square in the bottom right corner.

    Its size does not follow the image's. BackdoorBench resizes a picture of 32 pixels, so that on 64 pixels its square
    has six.
    """

    STRENGTH: ClassVar[str] = "value"  # the field that `Attack.scaled` multiplies
    size: ranges.Count = 3  # pixels
    value: ranges.Fraction = 1.0  # brightness
    margin: ranges.CountOrZero = 0  # pixels from the border

    def __call__(self, images: Images) -> Images:
        h, w = images.shape[-2:]
        if self.size + self.margin > min(h, w):
            raise ParameterError(f"size={self.size}: with margin={self.margin} it does not fit {h} x {w} pixels")
        bottom, right = h - self.margin, w - self.margin
        triggered = images.clone()
        triggered[..., bottom - self.size : bottom, right - self.size : right] = self.value
        return triggered


ATTACK = Attack(NUMBERS_VERSION=1, trigger=BadNets())
