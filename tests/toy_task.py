"""A toy task on which a backdoor is planted in seconds."""

import os

os.environ["BDLIB_THREADS"] = "1"  # two test processes share the machine; must stand before bdlib is imported

import torch

from bdlib.data.images import ImageSet

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
