"""Training without the images that spectral signatures flag. Tran, Li, Madry, NeurIPS 2018, arXiv:1811.00636.

A network is trained on all images, only to be looked through. `bdlib.defenses.detectors.spectral_signatures` flags
images by its features. A second network is trained on the rest.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors import DETECTORS
from bdlib.training.filtering import require_readout, train_filtered
from bdlib.training.loop import Schedule
from bdlib.types import MakeModel, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here, or in the detector, changes numbers


@checked
@needs(require_readout)
def spectral_signatures(
    make_model: MakeModel,
    poisoned: ImageSet,
    *,
    expected_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1,  # of each class; 15 % are left out, as released
    variant: ranges.Variant = "paper",  # released: of the detector, see `spectral_scores`
    training_epochs: ranges.Count = 100,  # of both trainings, with one rise and fall of the rate; paper not seen
    training_rate: ranges.LearningRate = 0.1,
    training_batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A network trained on `poisoned` without its flagged images, which are a fixed share of every class.

    Example::

        defended = spectral_signatures(make_model, poisoned, expected_share=0.05, training_epochs=8)

    `on_event` is told "flagged", for each image whether it was left out. Raises ParameterError for a keyword out of
    range, and for a network without a linear layer.
    """
    schedule = Schedule(training_epochs, training_rate, "one_cycle", batch_size=training_batch_size,
                        augmentation=augmentation, seed=seed)  # fmt: skip
    detect = DETECTORS["spectral_signatures"]
    return train_filtered(
        make_model,
        poisoned,
        lambda model, data: detect(model, data, expected_share=expected_share, variant=variant).flagged,
        schedule,
        on_event=on_event,
    )
