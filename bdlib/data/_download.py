"""Data sets that torchvision, or their authors' archive, gives."""

import os
from pathlib import Path

import torch

from bdlib.data._files import DataError, decode, resize, stack
from bdlib.data.images import ImageSet

TINY_IMAGENET = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")


def download(name: str, size: int) -> tuple[ImageSet, ImageSet]:
    """Training and test images by torchvision, which checks its downloads itself."""
    from bdlib.data._torchvision import torchvision

    source = torchvision.datasets
    root = Path(os.environ.get("BDLIB_DOWNLOADS", Path.home() / ".cache" / "bdlib"))
    try:
        if name == "tiny_imagenet":
            return download_tiny_imagenet(root)
        if name == "gtsrb":
            parts = [source.GTSRB(str(root), split=part, download=True) for part in ("train", "test")]
        else:
            kind = {"cifar10": source.CIFAR10, "cifar100": source.CIFAR100}[name]
            parts = [kind(str(root), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"dataset={name!r} is not here and could not be downloaded ({error}); "
            f"go online, or set BDLIB_DATA to a folder that holds {name}/train*.parquet and {name}/test*.parquet"
        ) from error
    train, test = (
        ImageSet(stack([resize(image, size) for image, _ in part]), torch.tensor([label for _, label in part]))
        for part in parts
    )
    return train, test


def download_tiny_imagenet(root: Path) -> tuple[ImageSet, ImageSet]:
    """Tiny ImageNet's training and validation images from its authors' archive (MD5 checked)."""
    from bdlib.data._torchvision import torchvision

    url, md5 = TINY_IMAGENET
    torchvision.datasets.utils.download_and_extract_archive(url, str(root), md5=md5)
    folder = root / "tiny-imagenet-200"
    classes = {name: label for label, name in enumerate(sorted(p.name for p in (folder / "train").iterdir()))}
    train = [(path, classes[path.parents[1].name]) for path in sorted(folder.glob("train/*/images/*.JPEG"))]
    rows = [line.split("\t") for line in (folder / "val" / "val_annotations.txt").read_text().splitlines()]
    test = [(folder / "val" / "images" / row[0], classes[row[1]]) for row in rows]
    first, second = (
        ImageSet(stack([decode(path.read_bytes()) for path, _ in part]), torch.tensor([label for _, label in part]))
        for part in (train, test)
    )  # fmt: skip
    return first, second
