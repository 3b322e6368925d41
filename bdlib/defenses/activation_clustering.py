"""Training without the images that activation clustering flags. Chen et al., 2018, arXiv:1811.03728.

A network is trained on all images, only to be looked through. `bdlib.defenses.detectors.activation_clustering` cuts its
features of each class into two clusters and flags one of them. A second network is trained on the rest.
"""

from torch import nn

from bdlib import ranges
from bdlib.checks import checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors import DETECTORS
from bdlib.defenses.detectors.activation_clustering import Rule
from bdlib.training.filtering import require_readout, train_filtered
from bdlib.training.loop import Schedule
from bdlib.types import MakeModel, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here, or in the detector, changes numbers


@checked
@needs(require_readout)
def activation_clustering(
    make_model: MakeModel,
    poisoned: ImageSet,
    *,
    rule: Rule = "smaller",  # of the detector, whose other settings are its defaults
    training_epochs: ranges.Count = 100,  # of both trainings, with one rise and fall of the rate; paper not seen
    training_rate: ranges.LearningRate = 0.1,
    training_batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A network trained on `poisoned` without its flagged images. By the rule "smaller" every class loses some.

    Example::

        defended = activation_clustering(make_model, poisoned, rule="silhouette", training_epochs=8)

    `on_event` is told "flagged", for each image whether it was left out. Raises ParameterError for a keyword out of
    range, and for a network without a linear layer.
    """
    schedule = Schedule(training_epochs, training_rate, "one_cycle", batch_size=training_batch_size,
                        augmentation=augmentation, seed=seed)  # fmt: skip
    detect = DETECTORS["activation_clustering"]
    return train_filtered(
        make_model,
        poisoned,
        lambda model, data: detect(model, data, rule=rule, seed=seed).flagged,
        schedule,
        on_event=on_event,
    )
