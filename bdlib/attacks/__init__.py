"""Attacks that do more than stamp images at random: they choose which, learn the trigger, or steer training.

Static triggers are in bdlib.triggers. CRAFTED attacks make something from clean images before any poisoning;
STEERED ones control training itself (bdlib.steering holds what they share).
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from bdlib.attacks import label_consistent, ssba, trojan
from bdlib.triggers import TRIGGERS


class Craft(NamedTuple):
    """`blank(shape, make_model)` is the module that `craft(train, *, make_model, pad, seed)` returns, but untrained."""

    blank: Callable[..., nn.Module]
    craft: Callable[..., nn.Module]


# What each makes: the trigger, or for label_consistent the network that its images are to mislead.
CRAFTED = {
    "label_consistent": Craft(label_consistent.blank, label_consistent.craft),
    "trojan": Craft(trojan.blank, trojan.craft),
    "ssba": Craft(ssba.blank, ssba.craft),
}
STEERED = ("wanet", "input_aware", "bpp")
# The module whose code an attack's victims depend on, beside the trigger's class
MODULES = {
    "label_consistent": "bdlib.attacks.label_consistent",
    "trojan": "bdlib.attacks.trojan",
    "ssba": "bdlib.attacks.ssba",
    "wanet": "bdlib.steering",
    "input_aware": "bdlib.attacks.input_aware",
    "bpp": "bdlib.steering",
}
ATTACKS = (*[name for name in TRIGGERS if name not in MODULES], *MODULES)
