"""Your own data: a folder of images, Parquet files or arrays, and a name under which the whole library knows them.

Example::

    train, test = load_folder("flowers/train", size=32), load_folder("flowers/test", size=32)
    register_dataset("flowers", train, test)
    victim = trained_victim(VictimConfig(dataset="flowers"))

Nothing is guessed: what could be read in two ways is refused, in one line that names the file or the argument.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data._arrays import channels_first, check_set, labels_in, names_of, pixels_in
from bdlib.data._files import DataError, read_whole, stack
from bdlib.data._parquet import read_rows
from bdlib.data._pictures import folders_of, pixels_of
from bdlib.data.datasets import CLASS_NAMES, DATASETS, OWN, DatasetFacts
from bdlib.data.images import ImageSet

Size = Annotated[int, Field(ge=8, le=1024)]  # pixels, height and width
Channels = Literal[1, 3]  # gray or RGB
BUILT_IN = frozenset(DATASETS)


@dataclass(frozen=True, eq=False)
class NamedImages(ImageSet):
    """Images that know the names of their classes, by label. A subset of them is a plain `ImageSet`."""

    class_names: tuple[str, ...] = ()


@checked
def load_folder(
    folder: str | Path, *, size: Size = 32, channels: Channels = 3, class_names: Sequence[str] | None = None
) -> NamedImages:
    """The images of a folder that holds one folder for each class, made `size` pixels high and wide.

    Labels count the class folders in the order of their names; `class_names` sets another order, and may name classes
    of which there is no image here. Any picture that Pillow reads is taken, turned as its EXIF data say, and
    squeezed to a square. Hidden files are left out. Raises DataError, which names the file, for anything else in a
    class folder, and for pictures with transparent pixels, several frames or more than 8 bits a channel.

    Example: ``test = load_folder("flowers/test", size=32, class_names=train.class_names)``
    """
    names, files = folders_of(_path(folder), class_names)
    pictures = [pixels_of(read_whole(path), str(path), size, channels) for path, _ in files]
    return NamedImages(stack(pictures), torch.tensor([label for _, label in files]), names)


@checked
def load_parquet(*paths: str | Path, size: Size = 32, channels: Channels = 3) -> NamedImages:
    """The images of Parquet files as on Hugging Face: a column `image` of encoded images, a column `label` of numbers.

    Pictures are treated as those of `load_folder`. Class names are those that the files hold. Raises DataError, which
    names file, column and row.

    Example: ``train = load_parquet("train-0.parquet", "train-1.parquet", size=64)``
    """
    if not paths:
        raise ParameterError("paths=(): must be one Parquet file or more")
    pictures: list[np.ndarray] = []
    labels: list[int] = []
    names: set[tuple[str, ...]] = set()
    for path in paths:
        if not _path(path).is_file():
            raise DataError(f"{path} is no file")
        rows = read_rows(read_whole(_path(path)), str(path))
        pictures += [pixels_of(encoded, f"{path}, column image, row {number}", size, channels)
                     for number, encoded in enumerate(rows.images)]  # fmt: skip
        labels += rows.labels
        names.add(rows.class_names)
    if not pictures:
        raise DataError(f"{paths[0]}: holds no images")
    if len(names) > 1:
        raise DataError(f"{paths[-1]}: the classes have other names than in {paths[0]}")
    return NamedImages(stack(pictures), torch.tensor(labels), names.pop())


@checked
def image_set(images: object, labels: object, *, layout: Literal["NCHW", "NHWC"] | None = None) -> ImageSet:
    """Arrays as an `ImageSet`: `images` of NumPy or PyTorch, and a whole number from 0 for each in `labels`.

    Pixels are bytes from 0 to 255, or floats from 0 to 1, which are rounded to bytes. Shapes are (n, h, w) for gray
    images, (n, c, h, w) or (n, h, w, c) with one or three channels; `layout` says which where both are possible. The
    arrays are copied. Raises ParameterError, in one line, for anything else, such as floats up to 255.

    Example: ``train = image_set(x_train, y_train)``
    """
    pixels = channels_first(pixels_in(images), layout)
    numbers = labels_in(labels)
    if len(pixels) != len(numbers):
        raise ParameterError(f"labels: must be as many as the images, {len(pixels)}, not {len(numbers)}")
    return ImageSet(pixels.contiguous(), numbers)


@checked
def register_dataset(
    name: str, train: ImageSet, test: ImageSet, *,
    class_names: Sequence[str] | None = None, augmentation: ranges.Augmentation = 4,
) -> DatasetFacts:  # fmt: skip
    """Make a training and a test set known as `name`: to VictimConfig, load_dataset, DATASETS and runs in Python.

    It holds for this process. What is trained on these images is kept under a digest of all of them, and so is never
    taken for what was trained on others of that name. `augmentation` is the largest shift, in pixels, of the random
    crop in training, which also mirrors; None, for digits and letters say, leaves images as they are. Returns what a
    network must know of the data. Raises ParameterError for sets that do not fit each other.

    Example: ``register_dataset("flowers", train, test, class_names=["daisy", "rose"])``
    """
    if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", str(name)) or name in BUILT_IN:
        raise ParameterError(f"name={name!r}: must be letters, digits and _, and none of {', '.join(sorted(BUILT_IN))}")
    names = names_of(train, test, class_names)
    for role, data in (("train", train), ("test", test)):
        check_set(role, data, len(names), train)
    train, test = (ImageSet(part.images.cpu().clone(), part.labels.cpu().long().clone()) for part in (train, test))
    scaled = train.images.transpose(0, 1).flatten(1).double() / 255
    mean, std = (tuple(round(x, 4) for x in found.tolist()) for found in (scaled.mean(1), scaled.std(1)))
    if not any(std):
        raise ParameterError("train: must have pixels that differ")
    channels, size = train.images.shape[1:3]
    spread = tuple(x or 1.0 for x in std)  # of a channel that is always the same
    counts, content = (len(train), len(test)), _content(train, test)
    facts = DatasetFacts(channels, size, len(names), mean, spread, counts, augmentation, content)
    DATASETS[name], CLASS_NAMES[name], OWN[name] = facts, names, (train, test)
    return facts


def _path(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or path == "":
        raise ParameterError(f"path={path!r}: must be the path of a file or folder, as text or Path")
    return Path(path)


def _content(*parts: ImageSet) -> str:
    """A digest of every image and label."""
    total = sha256()
    for tensor in (tensor for part in parts for tensor in (part.images.contiguous(), part.labels)):
        total.update(f"{tuple(tensor.shape)}".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()[:16]
