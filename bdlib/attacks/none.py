"""No attack. Its victim is the clean model, which tells what a defense costs where there is nothing to remove."""

from dataclasses import dataclass

from bdlib.attacks.attack import Attack
from bdlib.types import Images


@dataclass(frozen=True)
class NoTrigger:
    """The identity."""

    def __call__(self, images: Images) -> Images:
        return images.clone()


ATTACK = Attack(NUMBERS_VERSION=1, trigger=NoTrigger(), poisons=False)
