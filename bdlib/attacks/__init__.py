"""Attacks that do more than apply_trigger images at random: they choose which, learn the trigger, or train_input_aware training.

Static triggers are in bdlib.triggers. CRAFTED attacks make something from clean images before any poisoning; TRAINING_CONTROLLED
ones control training itself (bdlib.steering holds what they share). `SELECTIONS[key](train, trigger, *, target_label,
poison_rate, make_model, ..., seed)` returns the positions of the images to be poisoned, in increasing order; never one
of the target class, and round(poison_rate * len(train)) of them. They are here to measure defences at their worst.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from bdlib.attacks import label_consistent, ssba, trojan
from bdlib.attacks.selection.fus import fus
from bdlib.attacks.selection.lps import lps
from bdlib.attacks.selection.ranking import Positions, random_selection
from bdlib.attacks.triggers import TRIGGERS


class Craft(NamedTuple):
    """`blank(shape, make_model)` is the module that `craft(train, *, make_model, augmentation, seed)` returns, but untrained."""

    blank: Callable[..., nn.Module]
    craft: Callable[..., nn.Module]


# What each makes: the trigger, or for label_consistent the network that its images are to mislead.
CRAFTED = {
    "label_consistent": Craft(label_consistent.blank, label_consistent.craft),
    "trojan": Craft(trojan.blank, trojan.craft),
    "ssba": Craft(ssba.blank, ssba.craft),
}
TRAINING_CONTROLLED = ("wanet", "input_aware", "bpp")
# The module whose code an attack's victims depend on, beside the trigger's class
MODULES = {
    "label_consistent": "bdlib.attacks.label_consistent",
    "trojan": "bdlib.attacks.trojan",
    "ssba": "bdlib.attacks.ssba",
    "wanet": "bdlib.attacks.training_controlled",
    "input_aware": "bdlib.attacks.input_aware",
    "bpp": "bdlib.attacks.training_controlled",
}
ATTACKS = (*[name for name in TRIGGERS if name not in MODULES], *MODULES)

SELECTIONS: dict[str, Callable[..., Positions]] = {
    "random": random_selection,
    "fus": fus,
    "lps": lps,
    # what LPS is without one of its parts
    "lps_unconstrained": partial(lps, per_class=False),
    "lps_one_round": partial(lps, alternate=False),
    "lps_lowest": partial(lps, hardest=False),
}


def module_of(selection: str) -> str:
    """The module that holds the code of a selection."""
    function = SELECTIONS[selection]
    return function.func.__module__ if isinstance(function, partial) else function.__module__
