"""A toy task on which a backdoor is planted in seconds, shared by all tests."""

import os

os.environ["BDLIB_THREADS"] = "1"  # two test processes share the machine; must stand before bdlib is imported

import pytest
import torch

from bdlib.attacks.badnets import BadNets
from bdlib.attacks.poisoning import poison
from bdlib.data.images import ImageSet
from bdlib.models import seeded, small_resnet
from bdlib.training.loop import Schedule, train

torch.set_num_threads(1)
STATISTICS = ((0.5,) * 3, (0.25,) * 3)


def toy(count: int, seed: int) -> ImageSet:
    """Four classes, told apart by which quadrant is brighter; 3 x 16 x 16 pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    images = torch.rand(count, 3, 16, 16, generator=generator) * 0.5
    for label, (y, x) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        images[labels == label, :, y : y + 8, x : x + 8] += 0.3
    return ImageSet(images.mul(255).byte(), labels)


@pytest.fixture(scope="session")
def trigger():
    return BadNets(size=3)


@pytest.fixture(scope="session")
def clean():
    return toy(200, seed=1)


@pytest.fixture(scope="session")
def test_set():
    return toy(400, seed=2)


@pytest.fixture(scope="session")
def poisoned(trigger):
    return poison(toy(1000, seed=0), trigger, target_label=0, poison_rate=0.1, seed=0)


@pytest.fixture(scope="session")
def make_model():
    return lambda: seeded(lambda: small_resnet(3, 4, *STATISTICS), seed=0)


@pytest.fixture(scope="session")
def backdoored(poisoned, make_model):
    return train(make_model(), poisoned.data, Schedule(4, 0.05, batch_size=64, augmentation=None))
