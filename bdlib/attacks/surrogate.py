"""The attacker's own network: trained briefly on clean images, to find out what networks of its kind look at."""

from torch import nn

from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule, train
from bdlib.types import MakeModel


def brief_training(
    clean: ImageSet, make_model: MakeModel, *, epochs: int, augmentation: int | None, batch_size: int = 64, seed: int
) -> nn.Module:
    """A network trained for a few epochs, as victims are but shorter; its weights take no more gradients."""
    schedule = Schedule(epochs, 0.1, anneal="one_cycle", batch_size=batch_size, augmentation=augmentation, seed=seed)
    return train(make_model(), clean, schedule).requires_grad_(False)
