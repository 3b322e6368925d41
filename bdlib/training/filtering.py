"""Training in two rounds: a network that is only looked through to filter the images, and one that is kept."""

from collections.abc import Callable

from jaxtyping import Bool
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.models import readout_of
from bdlib.training.loop import Schedule, train
from bdlib.types import MakeModel, OnEvent, ignore

Filter = Callable[[nn.Module, ImageSet], Bool[Tensor, " n"]]  # which images a network that learned them would leave out


def require_readout(make_model: MakeModel) -> None:
    """Raise ParameterError for a network without a linear layer, whose features a filter cannot read."""
    readout_of(make_model())


def train_filtered(
    make_model: MakeModel, poisoned: ImageSet, flag: Filter, schedule: Schedule, *, on_event: OnEvent = ignore
) -> nn.Module:
    """A network trained on those of the images that `flag` leaves; the other network was trained on all of them.

    Both trainings start from the same weights and have the same schedule. `on_event` is told "flagged", for each image
    whether it was left out. Raises ParameterError where no image is left.

    Example::

        defended = train_filtered(make_model, poisoned, lambda model, data: data.labels == 0, Schedule(8, 0.1))
    """
    flagged = flag(train(make_model(), poisoned, schedule), poisoned)
    on_event("flagged", flagged)
    if bool(flagged.all()):
        raise ParameterError("poisoned: the filter leaves no image to train on")
    return train(make_model(), poisoned[~flagged], schedule)
