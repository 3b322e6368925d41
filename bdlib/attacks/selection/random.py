"""The choice at random, which cleverer selections must beat."""

from bdlib import ranges
from bdlib.attacks.poisoning import Positions, draw_positions
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
