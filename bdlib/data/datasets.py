"""The data sets, by name, as pairs of `ImageSet`: training and test.

`fashion` is embedded: a subset of Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747; MIT license) cut by
scripts/cut_fashion.py. The others come from `$BDLIB_DATA/<name>/{train,test}*.parquet` (columns image.bytes and
label, as on Hugging Face) or else from their authors' archives, which are downloaded. No file is used unless its
checksum is known. `bdlib.data.own` adds your own.
"""

import io
import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from bdlib.checks import ParameterError
from bdlib.data._archives import ARCHIVES, read_archives
from bdlib.data._cached import cached
from bdlib.data._download import downloads_folder, fetch
from bdlib.data._files import DataError, read_verified
from bdlib.data._parquet import ASSETS, known_sums, read_parquet
from bdlib.data.images import ImageSet
from bdlib.runtime import added_field, digest

NUMBERS_VERSION = 1  # raise it when a change here changes an image, a label or their order

FASHION_SHA256 = "6b1c00baac4017ca88cc085a4bae7e01a1bf4476912987768c5c1619e45be6eb"


@dataclass(frozen=True)
class DatasetFacts:
    """What a model must know of a data set, and what its files must contain."""

    channels: int
    size: int  # pixels, height and width
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: tuple[int, int]  # training and test images
    augmentation: int | None = 4  # pixels of random crop used in training, with mirroring; None: neither
    content: str = added_field("")  # of own data: a digest of every image and label


DATASETS = {
    "fashion": DatasetFacts(1, 28, 10, (0.2860,), (0.3530,), (12_000, 4_000), augmentation=2),
    "cifar10": DatasetFacts(3, 32, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), (50_000, 10_000)),
    "cifar100": DatasetFacts(3, 32, 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), (50_000, 10_000)),
    "gtsrb": DatasetFacts(3, 32, 43, (0.3398, 0.3117, 0.3210), (0.2755, 0.2647, 0.2712), (39_209, 12_630)),
    "tiny_imagenet": DatasetFacts(
        3, 64, 200, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821), (100_000, 10_000), augmentation=8
    ),
}
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    name: tuple(str(label) for label in range(facts.num_classes)) for name, facts in DATASETS.items()
} | {
    "fashion": tuple("T-shirt trousers pullover dress coat sandal shirt sneaker bag boot".split()),
    "cifar10": tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
}

CONTRIBUTED: tuple[str, ...] = (
    # modules of this folder with FACTS, CLASS_NAMES, NUMBERS_VERSION and load(); `bdlib new dataset` adds one
)  # CONTRIBUTED
for _name in CONTRIBUTED:
    _made = import_module(f"bdlib.data.{_name}")
    DATASETS[_name] = DatasetFacts(**_made.FACTS, content=digest(_name, _made.NUMBERS_VERSION))
    CLASS_NAMES[_name] = _made.CLASS_NAMES

OWN: dict[str, tuple[ImageSet, ImageSet]] = {}  # what `bdlib.data.own.register_dataset` has added


def load_dataset(name: str) -> tuple[ImageSet, ImageSet]:
    """Training and test images of the named data set, on the CPU; kept after the first call.

    Raises ParameterError for an unknown name, DataError when a file is missing, truncated or altered.

    Example::

        train, test = load_dataset("fashion")  # train.images: (12000, 1, 28, 28) bytes
    """
    if name not in DATASETS:
        own = "; own data is there once `bdlib.register_dataset` was called in this process"
        raise ParameterError(f"dataset={name!r}: must be one of {', '.join(DATASETS)}{own}")
    train, test = OWN[name] if name in OWN else _built_in(name, parquet_folder(name))
    return _copy(train), _copy(test)


def _copy(data: ImageSet) -> ImageSet:
    """The same images in tensors of their own: who changes them does not change the data set."""
    return ImageSet(data.images.clone(), data.labels.clone())


@cache
def _built_in(name: str, folder: Path | None) -> tuple[ImageSet, ImageSet]:
    if name == "fashion":
        return load_embedded(ASSETS / "fashion.npz")
    if name in CONTRIBUTED:
        made = import_module(f"bdlib.data.{name}").load()
        return _check_facts(name, made[0], 0), _check_facts(name, made[1], 1)
    train, test = (
        (read_parquet(folder, "train", NUMBERS_VERSION), read_parquet(folder, "test", NUMBERS_VERSION))
        if folder
        else load_archives(name)
    )
    return _check_facts(name, train, 0), _check_facts(name, test, 1)


def parquet_folder(name: str) -> Path | None:
    """The folder of the data set's Parquet files in $BDLIB_DATA; None where there is none.

    Raises DataError when $BDLIB_DATA is set, but is no folder.
    """
    if name in ("fashion", *CONTRIBUTED) or not (place := os.environ.get("BDLIB_DATA")):
        return None
    if not Path(place).is_dir():
        raise DataError(f"BDLIB_DATA={place}: is not a folder; unset it, or set it to one that holds {name}/")
    return Path(place) / name if (Path(place) / name).is_dir() else None


def source_of(name: str) -> str:
    """A digest of where the images come from; "" for embedded and for own data, whose facts tell.

    The same data set differs between sources: in its order, in the way its images were made small. So what is trained
    on one is never taken for what is trained on another.
    """
    if name in ("fashion", *CONTRIBUTED, *OWN):
        return ""
    folder = parquet_folder(name)
    files = sorted(folder.glob("*.parquet")) if folder else []
    known = known_sums(folder) if folder else {archive.name: archive.md5 for archive in ARCHIVES[name]}
    return digest([(path.name, known.get(path.name)) for path in files] if folder else known)


def load_archives(name: str) -> tuple[ImageSet, ImageSet]:
    """A data set from its authors' archives, which are downloaded if they are not there. Raises DataError."""
    try:
        contents = [fetch(archive, downloads_folder()) for archive in ARCHIVES[name]]
    except DataError as error:
        place = os.environ.get("BDLIB_DATA")
        raise DataError(
            f"dataset={name!r} is not here{f' (none in BDLIB_DATA={place})' if place else ''} and could not be "
            f"downloaded: {error}; go online, or set BDLIB_DATA to a folder that holds {name}/train*.parquet and "
            f"{name}/test*.parquet"
        ) from error
    key = digest([archive.md5 for archive in ARCHIVES[name]], NUMBERS_VERSION)
    parts = cached(f"{name}-{key}", lambda: read_archives(name, contents, DATASETS[name].size))
    return parts[0], parts[1]


def load_embedded(path: Path) -> tuple[ImageSet, ImageSet]:
    """The Fashion-MNIST subset. Raises DataError unless the file is bit for bit the one in the repository."""
    content = read_verified(path, {path.name: FASHION_SHA256})
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        parts = [
            ImageSet(
                torch.from_numpy(arrays[f"{part}_images"][:, None].copy()),
                torch.from_numpy(arrays[f"{part}_labels"].astype(np.int64)),
            )
            for part in ("train", "test")
        ]
    return parts[0], parts[1]


def _check_facts(name: str, data: ImageSet, part: int) -> ImageSet:
    """`data` itself, or a DataError when it has not the shape, the number or the labels that it should."""
    facts = DATASETS[name]
    shape = (facts.counts[part], facts.channels, facts.size, facts.size)
    if tuple(data.images.shape) != shape:
        raise DataError(f"dataset={name!r}: images of shape {tuple(data.images.shape)}, not {shape}")
    if data.labels.min() < 0 or data.labels.max() >= facts.num_classes:
        raise DataError(f"dataset={name!r}: a label is outside 0 to {facts.num_classes - 1}")
    return data
