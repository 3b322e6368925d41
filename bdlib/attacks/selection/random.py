"""Choices at random, which cleverer selections must beat: of all images, and of every class alike."""

import torch

from bdlib import ranges
from bdlib.attacks.poisoning import Positions, draw_positions
from bdlib.attacks.selection.ranking import highest_in_every_class
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, TargetLabel
from bdlib.types import MakeModel, OnEvent, Trigger, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes which images are selected


@checked
def random_selection(train: ImageSet, trigger: Trigger, *, target_label: TargetLabel,
                     poison_rate: ranges.Fraction, make_model: MakeModel, on_event: OnEvent = ignore,
                     seed: ranges.Seed) -> Positions:  # fmt: skip
    """The very images that `bdlib.attacks.poisoning.poison` draws with this seed: positions, increasing.

    Trigger and network have no part in it. Raises ParameterError when a keyword is out of its range, and when
    `poison_rate` asks for more images than there are outside the target class.
    """
    relabel = AllToOne(target_label)
    return draw_positions(train.labels, relabel, poison_rate=poison_rate, seed=seed).sort().values


@checked
def balanced_selection(train: ImageSet, trigger: Trigger, *, target_label: TargetLabel,
                       poison_rate: ranges.Fraction, make_model: MakeModel, on_event: OnEvent = ignore,
                       seed: ranges.Seed) -> Positions:  # fmt: skip
    """As many images at random, an equal share of every class but the target: positions, increasing.

    It has the class constraint of LPS and nothing else of it, so it tells what that constraint is worth by itself.
    Raises ParameterError as `random_selection` does.

    Example: `balanced_selection(train, BadNets(), target_label=0, poison_rate=0.002, make_model=make_model, seed=1)`
    """
    count = len(draw_positions(train.labels, AllToOne(target_label), poison_rate=poison_rate, seed=seed))
    even = torch.zeros(len(train))  # no image scores above another, so that the seed decides
    return highest_in_every_class(even, train.labels, target_label=target_label, count=count, seed=seed)
