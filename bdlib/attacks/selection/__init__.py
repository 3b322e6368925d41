"""Selections: which images an attacker poisons.

`SELECTIONS[key](train, trigger, *, target_label, poison_rate, make_model, ..., seed)` returns the positions of the
images to poison, in increasing order: round(poison_rate * len(train)) of them, none of the target class. They are here
to measure defenses at their worst. `make_model` builds the attacker's own network.
"""

from collections.abc import Callable
from functools import partial

from bdlib.attacks.poisoning import Positions
from bdlib.attacks.selection import fus, lps, random

SELECTIONS: dict[str, Callable[..., Positions]] = {
    "random": random.random_selection,
    "fus": fus.fus,
    "lps": lps.lps,
    "random_balanced": random.balanced_selection,  # the class constraint of LPS, and nothing else of it
    # LPS without one of its parts
    "lps_unconstrained": partial(lps.lps, per_class=False),
    "lps_one_choice": partial(lps.lps, alternate=False),
    "lps_lowest": partial(lps.lps, hardest=False),
}
