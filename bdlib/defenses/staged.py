"""Defenses of several stages of a network's life, one after the other: a filter, a training, a repair.

Wu et al., arXiv:2312.08890, sort defenses by the stage of the life-cycle at which they act. Each stage has one or two
representatives here, and each can be left out, so that a combination can be compared with its parts.
"""

from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.abl.isolation import LossThreshold, require_isolated
from bdlib.defenses.abl.method import abl
from bdlib.defenses.detectors import DETECTORS
from bdlib.defenses.ft_sam import ft_sam
from bdlib.training.loop import Schedule, train
from bdlib.types import MakeModel, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here, or in a method that it calls, changes numbers


def _require_isolated(poisoned: ImageSet, training: str, isolation_rate: float) -> None:
    if training == "abl":
        require_isolated(poisoned, isolation_rate)


@checked
@needs(_require_isolated)
def staged(
    model: nn.Module,
    make_model: MakeModel,
    poisoned: ImageSet,
    clean: ImageSet,
    *,
    filtering: Literal["none", "spectral_signatures", "activation_clustering"] = "spectral_signatures",
    training: Literal["plain", "abl"] = "abl",
    repair: Literal["none", "ft_sam"] = "ft_sam",
    epochs: ranges.Count = 100,  # of plain training on what a filter leaves, with one rise and fall of the rate
    learning_rate: ranges.LearningRate = 0.1,
    batch_size: ranges.BatchSize = 128,  # of both trainings
    gamma: LossThreshold = 0.5,  # of ABL, as all up to `stop_accuracy`; `bdlib.defenses.abl` says where they come from
    isolation_rate: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = 0.01,
    isolation_epochs: ranges.Count = 20,
    abl_epochs: ranges.CountOrZero = 60,
    abl_milestone: ranges.CountOrZero = 40,
    abl_rate: ranges.LearningRate = 0.1,
    unlearning_epochs: ranges.CountOrZero = 5,
    unlearning_rate: ranges.LearningRate = 5e-4,
    unlearning_batch_size: ranges.BatchSize = 128,
    stop_accuracy: ranges.Fraction = 0.0,
    rho: ranges.Radius = 2.0,  # of FT-SAM, as the next three; `bdlib.defenses.ft_sam`
    repair_epochs: ranges.CountOrZero = 100,
    repair_rate: ranges.LearningRate = 0.01,
    repair_batch_size: ranges.BatchSize = 256,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A network trained on what the filter leaves of `poisoned`, and repaired with the trusted images `clean`.

    `model` is the victim: the plain training that is there already. The filter, with its default settings, looks at
    the images through it; and it is what a repair starts from where nothing is trained anew. With `filtering="none"`,
    `training="plain"` or `repair="none"` the stage does nothing, and what is left is the other methods' own result.
    `on_event` is told "flagged", for each image of `poisoned` whether the filter took it.

    Example::

        defended = staged(victim, make_model, poisoned, clean, filtering="none", training="plain", repair="ft_sam")

    Raises ParameterError for a keyword out of range, and when ABL would isolate no image.
    """
    kept = poisoned
    shared: dict[str, Any] = {"augmentation": augmentation, "seed": seed}
    if filtering != "none":
        flagged = DETECTORS[filtering](model, poisoned).flagged
        on_event("flagged", flagged)
        kept = poisoned[~flagged]
    trained = deepcopy(model).eval()
    if training == "abl":
        trained = abl(make_model, kept, gamma=gamma, isolation_rate=isolation_rate, isolation_epochs=isolation_epochs,
                      epochs=abl_epochs, milestone=abl_milestone, learning_rate=abl_rate, batch_size=batch_size,
                      unlearning_epochs=unlearning_epochs, unlearning_rate=unlearning_rate,
                      unlearning_batch_size=unlearning_batch_size, stop_accuracy=stop_accuracy, **shared)  # fmt: skip
    elif filtering != "none":
        schedule = Schedule(epochs, learning_rate, "one_cycle", batch_size=batch_size, **shared)
        trained = train(make_model(), kept, schedule)
    if repair == "none":
        return trained
    return ft_sam(trained, clean, rho=rho, epochs=repair_epochs, learning_rate=repair_rate,
                  batch_size=repair_batch_size, **shared)  # fmt: skip
