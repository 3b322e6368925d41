"""Backdoor attacks, one object each, and the selections of the images that they poison.

`ATTACKS[key]` is an `Attack`: it makes the trigger, poisons a set and trains the victim. `SELECTIONS[key]` finds the
images to poison. A new attack is a file here, named by its key, with an object `ATTACK`, and a line below.
"""

from importlib import import_module

from bdlib.attacks.attack import Attack
from bdlib.attacks.selection import SELECTIONS as SELECTIONS

ATTACKS: dict[str, Attack] = {
    name: import_module(f"bdlib.attacks.{name}").ATTACK
    for name in (
        "none",
        "badnets",
        "blended",
        "sig",
        "low_frequency",
        "label_consistent",
        "trojan",
        "ssba",
        "wanet",
        "input_aware",
        "bpp",
    )
}
