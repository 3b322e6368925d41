"""The data sets, by name, as pairs of `ImageSet`: training and test.

`fashion` is embedded: a subset of Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747; MIT license) cut by
scripts/cut_fashion.py. The others come from `$BDLIB_DATA/<name>/{train,test}*.parquet` (columns image.bytes and
label, as on Hugging Face) or else from torchvision's download. No file is used unless its checksum is known.
"""

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as bytes_of

from bdlib.data._download import download
from bdlib.data._files import DataError, decode, read_sums, read_verified, stack
from bdlib.data.images import ImageSet
from bdlib.runtime import CACHE, digest, write_whole

NUMBERS_VERSION = 1  # raise it when a change here changes an image, a label or their order

ASSETS = Path(__file__).parent / "assets"
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
    augmentation: int = 4  # pixels of random crop used in training


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


@cache
def load_dataset(name: str) -> tuple[ImageSet, ImageSet]:
    """Training and test images of the named data set, on the CPU.

    Raises ValueError for an unknown name, DataError when a file is missing, truncated or altered.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset={name!r}: must be one of {', '.join(DATASETS)}")
    if name == "fashion":
        return load_embedded(ASSETS / "fashion.npz")
    folder = Path(os.environ.get("BDLIB_DATA", "")) / name
    if os.environ.get("BDLIB_DATA") and folder.is_dir():
        train, test = read_parquet(folder, "train"), read_parquet(folder, "test")
    else:
        train, test = download(name, DATASETS[name].size)
    return _check_facts(name, train, 0), _check_facts(name, test, 1)


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


def read_parquet(folder: Path, part: str) -> ImageSet:
    """All images of `<part>*.parquet`, in file order. Every file must have a known SHA-256.

    Known are the files listed in bdlib/assets/SHA256SUMS, and those in a SHA256SUMS file inside `folder`. Decoding
    tens of thousands of PNG files takes a process half a minute, so the pixels are kept in the cache.
    """
    import pyarrow.parquet as parquet

    paths = sorted(folder.glob(f"{part}*.parquet"))
    if not paths:
        raise DataError(f"{folder}: no {part}*.parquet; put the Parquet files there, or unset BDLIB_DATA")
    known = read_sums(ASSETS / "SHA256SUMS", prefix=f"{folder.name}/") | read_sums(folder / "SHA256SUMS")
    contents = [read_verified(path, known) for path in paths]
    key = digest([known[path.name] for path in paths], NUMBERS_VERSION)
    decoded = CACHE / "datasets" / f"{folder.name}-{part}-{key}.safetensors"
    if decoded.is_file():
        with suppress(SafetensorError, KeyError):  # a file that cannot be read is made again
            tensors = tensors_in(decoded.read_bytes())
            return ImageSet(tensors["images"], tensors["labels"])
    images, labels = [], []
    for content in contents:
        table = parquet.read_table(io.BytesIO(content))
        column = "image" if "image" in table.column_names else "img"
        images += [decode(row["bytes"]) for row in table[column].to_pylist()]
        labels += next(table[c] for c in ("label", "fine_label") if c in table.column_names).to_pylist()
    data = ImageSet(stack(images), torch.tensor(labels))
    write_whole(decoded, bytes_of({"images": data.images, "labels": data.labels}))
    return data


def _check_facts(name: str, data: ImageSet, part: int) -> ImageSet:
    """`data` itself, or a DataError when it has not the shape, the number or the labels that it should."""
    facts = DATASETS[name]
    shape = (facts.counts[part], facts.channels, facts.size, facts.size)
    if tuple(data.images.shape) != shape:
        raise DataError(f"dataset={name!r}: images of shape {tuple(data.images.shape)}, not {shape}")
    if data.labels.min() < 0 or data.labels.max() >= facts.num_classes:
        raise DataError(f"dataset={name!r}: a label is outside 0 to {facts.num_classes - 1}")
    return data
