"""The images on which VDC is measured, and label noise for them. Part of `bdlib.mechanisms.vdc`.

Noise is at random, confused with a similar class, or beside poison.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import ImageSet
from bdlib.types import Labels

DIRTY = 0.09  # share of poisoned images where a sample is measured: the paper's
SIMILAR = {  # asymmetric noise: the class that people confuse each class with; others keep their labels
    "truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat",
    "shirt": "T-shirt", "pullover": "coat", "coat": "pullover", "sandal": "sneaker", "sneaker": "boot",
}  # fmt: skip


def noisy_sets(
    train: ImageSet, truth: Poisoned, class_names: Sequence[str], rate: float, seed: int
) -> dict[str, tuple[ImageSet, Bool[Tensor, " n"]]]:
    """The training set with symmetric and asymmetric noise, and the poisoned one with symmetric noise on its rest.

    With each the images that are dirty.
    """
    labels, device = train.labels.cpu(), train.labels.device
    symmetric = with_noise(labels, len(class_names), rate, seed)
    similar = torch.tensor([class_names.index(SIMILAR.get(name, name)) if SIMILAR.get(name, name) in class_names else k
                            for k, name in enumerate(class_names)])  # fmt: skip
    drawn = torch.rand(len(labels), generator=Generator().manual_seed(seed + 1)) < rate
    asymmetric = torch.where(drawn, similar[labels], labels)
    poison = truth.is_poisoned.cpu()
    hybrid = torch.where(poison, truth.data.labels.cpu(), symmetric)
    return {
        "symmetric": (ImageSet(train.images, symmetric.to(device)), symmetric != labels),
        "asymmetric": (ImageSet(train.images, asymmetric.to(device)), asymmetric != labels),
        "hybrid": (ImageSet(truth.data.images, hybrid.to(device)), (hybrid != labels) | poison),
    }


def with_noise(labels: Labels, classes: int, rate: float, seed: int) -> Labels:
    """`labels`, each replaced with probability `rate` by one of the other classes at random."""
    generator = Generator().manual_seed(seed)
    drawn = torch.rand(len(labels), generator=generator) < rate
    others = (labels + torch.randint(1, classes, (len(labels),), generator=generator)) % classes
    return torch.where(drawn, others, labels)


def sample(poison: Bool[Tensor, " n"], count: int, *, seed: int) -> Tensor:
    """The positions of about `count` images, `DIRTY` of them poisoned; fewer where there are not enough of a kind."""
    generator, ids = Generator().manual_seed(seed), list[Tensor]()
    for kind, wanted in ((poison, round(DIRTY * count)), (~poison, count - round(DIRTY * count))):
        pool = kind.nonzero().squeeze(1)
        ids.append(pool[torch.randperm(len(pool), generator=generator)[:wanted]])
    return torch.cat(ids)
