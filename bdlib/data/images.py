"""Labeled images held whole on one device, and the augmented batches drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bdlib.types import Batch, Images, Labels, Pixels

NUMBERS_VERSION = 1  # raise it when a change here changes which images are drawn, or how they are augmented


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A labeled data set as two tensors. Index it with a mask, an index tensor or a slice to get a subset.

    Raises ValueError when there are not as many labels as images.

    Example::

        frogs = train_set[train_set.labels == 6]
    """

    images: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, keep: Tensor | slice) -> "ImageSet":
        return ImageSet(self.images[keep], self.labels[keep])

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same data on another device."""
        return ImageSet(self.images.to(device), self.labels.to(device))


def require_images(data: ImageSet) -> None:
    """Raise ValueError for a set without images."""
    if not len(data):
        raise ValueError("the set of images is empty")


def split(data: ImageSet, fraction: float, *, seed: int) -> tuple[ImageSet, ImageSet]:
    """Two disjoint parts of `data`: a random `fraction` of every class, and all other images.

    Every class gives at least one image to the first part. The order of the images stays. Raises ValueError for a
    fraction outside (0, 1].

    Example::

        clean, rest = split(train_set, 0.05, seed=0)
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction}: must be in (0, 1]")
    labels, generator = data.labels.cpu(), Generator().manual_seed(seed)
    in_first = torch.zeros(len(data), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        shuffled = members[torch.randperm(len(members), generator=generator)]
        in_first[shuffled[: max(1, round(fraction * len(members)))]] = True
    in_first = in_first.to(data.labels.device)
    return data[in_first], data[~in_first]


def sample(data: ImageSet, count: int) -> ImageSet:
    """About `count` images, an equal share of every class; all of `data` when it has fewer."""
    return split(data, min(1.0, count / len(data)), seed=0)[0]


def batches(
    data: ImageSet, size: int, *, augmentation: int | None = None, generator: Generator | None = None
) -> Iterator[Batch]:
    """One epoch of batches of `size` images, pixels in [0, 1]; shuffled if there is a `generator`, in order otherwise.

    With `augmentation`, every image is shifted by a random crop of up to that many pixels, and mirrored half of the
    time. The random numbers are drawn on the CPU, once an epoch, so that every device sees the same batches.
    """
    n, device = len(data), data.labels.device
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
    if augmentation is not None:
        shifts = torch.randint(2 * augmentation + 1, (2, n), generator=generator).to(device)
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(device)
    start = 0
    for ids in order.to(device).split(size):
        pixels, part = data.images[ids], slice(start, start + len(ids))
        if augmentation is not None:
            pixels = shift_and_mirror(pixels, shifts[:, part], mirrored[part], augmentation=augmentation)
        yield Batch(pixels.float().div_(255), data.labels[ids], ids)
        start = part.stop


def augment(images: Images | Pixels, augmentation: int | None, generator: Generator) -> Images | Pixels:
    """The images of one batch, each shifted by up to `augmentation` pixels and mirrored half of the time.

    The random numbers are drawn on the CPU. For `augmentation=None` the images come back as they are.
    """
    if augmentation is None:
        return images
    shifts = torch.randint(2 * augmentation + 1, (2, len(images)), generator=generator).to(images.device)
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return shift_and_mirror(images, shifts, mirrored, augmentation=augmentation)


def shift_and_mirror(
    images: Images | Pixels, shifts: Tensor, mirrored: Tensor, *, augmentation: int
) -> Images | Pixels:
    """Pad with `augmentation` zeros, cut out each image's window at `shifts` (rows, columns), flip the `mirrored` ones.

    `shifts` has shape (2, n) and entries from 0 to twice the augmentation.
    """
    h, w = images.shape[-2:]
    rows = shifts[0][:, None] + torch.arange(h, device=images.device)
    columns = shifts[1][:, None] + torch.arange(w, device=images.device)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    padded = F.pad(images, (augmentation,) * 4).permute(0, 2, 3, 1)
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
