"""Labeled images held whole on one device, and the augmented batches drawn from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.fit import count_classes, require_labels, require_pixels, wanted_labels
from bdlib.types import Batch, Images, Labels, Pixels
from bdlib.words import shown

NUMBERS_VERSION = 1  # raise it when a change here changes which images are drawn, or how they are augmented


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A labeled data set as two tensors. Index it with a mask, an index tensor or a slice to get a subset.

    Pixels are of uint8, 0 to 255, shape (n, channels, height, width); labels of int64, counted from 0; both are on one
    device. Raises ParameterError for everything else, with the words that convert it: numbers in [0, 1], as
    torchvision's ToTensor gives them, are `(images * 255).round().to(torch.uint8)`.

    Example::

        frogs = train_set[train_set.labels == 6]
    """

    images: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        require_pixels(self.images)
        require_labels(self.labels)
        if len(self.images) != len(self.labels):
            raise ParameterError(f"labels: {len(self.images)} images but {len(self.labels)} labels")
        if self.images.device != self.labels.device:
            raise ParameterError(f"labels: on {self.labels.device}, but the images are on {self.images.device}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, keep: Tensor | slice) -> "ImageSet":
        is_index = isinstance(keep, Tensor) and keep.dim() == 1 and keep.dtype in (torch.bool, torch.int64)
        if isinstance(keep, Tensor) and keep.device.type not in ("cpu", self.labels.device.type):
            raise ParameterError(f"data[{shown(keep)}]: is on {keep.device}, the images are on {self.labels.device}")
        if not is_index and not isinstance(keep, slice):
            raise ParameterError(f"data[{shown(keep)}]: must be a mask, positions as an int64 tensor, or a slice")
        try:
            return self._with(self.images[keep], self.labels[keep])
        except (IndexError, TypeError, ValueError) as error:
            raise ParameterError(f"data[{shown(keep)}]: does not fit {len(self)} images; {error}") from None

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same data on another device."""
        return self._with(self.images.to(device), self.labels.to(device))

    def check_use(self, sets: Mapping[str, "ImageSet"], arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
        """Raise ParameterError unless the `arguments` of a call, with their annotations, fit each other.

        `sets` are the image sets among them, this one first. All must hold images, of one shape and on one device.
        An attack must take images of that size, networks classify them, triggers change them; labels, target label and
        relabeling must be known classes.
        """
        for name, data in sets.items():
            require_images(data, name)
            if data.images.shape[1:] != self.images.shape[1:] or data.images.device != self.images.device:
                theirs, ours = (f"{tuple(d.images.shape[1:])} on {d.images.device}" for d in (data, self))
                raise ParameterError(f"{name}: its images are {theirs}, those of {next(iter(sets))} are {ours}")
        misfit = getattr(arguments.get("self"), "misfit", None)  # of an attack
        if words := misfit and misfit(tuple(self.images.shape[1:])):
            raise ParameterError(f"{next(iter(sets))}: {words}")
        counts = count_classes(self.images, next(iter(sets)), arguments, hints)
        if self.labels.is_meta or not (counts or {"target_label", "relabel"} & arguments.keys()):
            return
        highest = {name: int(data.labels.max()) for name, data in sets.items()}
        for network, classes in counts.items():
            for name in sets:
                if highest[name] >= classes:
                    raise ParameterError(f"{name}: has a label {highest[name]}, but {network} has {classes} classes")
        most = min(counts.values(), default=max(highest.values()) + 1)
        if arguments.get("target_label", 0) >= most:
            raise ParameterError(f"target_label={arguments['target_label']}: must be one of {most} classes, from 0")
        if "relabel" in arguments:
            wanted_labels(self.labels, arguments["relabel"], classes=most if counts else None)

    def _with(self, images: Pixels, labels: Labels) -> "ImageSet":
        """A set of tensors that come from a checked one; nothing is looked at again, as that would wait for a GPU."""
        subset = object.__new__(ImageSet)
        vars(subset).update(images=images, labels=labels)
        return subset


def require_images(data: ImageSet, name: str = "data", *, least: int = 1) -> None:
    """Raise ParameterError for a set of fewer than `least` images; `name` is the argument's."""
    if 0 < len(data) < least:
        raise ParameterError(f"{name}: must have {least} images, not {len(data)}")
    if not len(data):
        raise ParameterError(f"{name}: the set of images is empty")


@checked
def split(data: ImageSet, fraction: ranges.PositiveFraction, *, seed: ranges.Seed) -> tuple[ImageSet, ImageSet]:
    """Two disjoint parts of `data`: a random `fraction` of every class, and all other images.

    Every class gives at least one image to the first part. The order of the images stays. Raises ParameterError for a
    fraction outside (0, 1], and for an empty set.

    Example::

        clean, rest = split(train_set, 0.05, seed=0)
    """
    labels, generator = data.labels.cpu(), Generator().manual_seed(seed)
    in_first = torch.zeros(len(data), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        shuffled = members[torch.randperm(len(members), generator=generator)]
        in_first[shuffled[: max(1, round(fraction * len(members)))]] = True
    in_first = in_first.to(data.labels.device)
    return data[in_first], data[~in_first]


@checked
def sample(data: ImageSet, count: Annotated[int, Field(ge=1)]) -> ImageSet:
    """About `count` images, an equal share of every class; all of `data` when it has fewer."""
    return split(data, min(1.0, count / len(data)), seed=0)[0]


@checked
def batches(
    data: ImageSet, size: Annotated[int, Field(ge=1)], *, augmentation: ranges.Augmentation = None,
    generator: Generator | None = None,
) -> Iterator[Batch]:  # fmt: skip
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
