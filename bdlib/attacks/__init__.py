"""Attacks that do more than stamp images at random: they choose which, learn the trigger, or steer training.

Static triggers are in bdlib.triggers. `SELECTIONS[key](train, trigger, *, target_label, poison_rate, make_model, ...,
seed)` returns the positions of the images to be poisoned, in increasing order; never one of the target class, and
round(poison_rate * len(train)) of them. They are here to measure defences at their worst.
"""

from collections.abc import Callable
from functools import partial

from bdlib.attacks.fus import fus
from bdlib.attacks.lps import lps
from bdlib.selection import Positions, random_selection

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


def surrogate_epochs(selection: str, *, rounds: int, round_epochs: int, iterations: int, iteration_epochs: int) -> int:
    """What a selection costs, in epochs of a surrogate on the whole training set; scoring passes are not counted."""
    if selection == "random":
        return 0
    return iterations * iteration_epochs if selection == "fus" else rounds * round_epochs
