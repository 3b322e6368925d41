"""Arrays of images and labels, taken only where there is one way to read them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdlib.checks import ParameterError
from bdlib.data.fit import MOST_CLASSES
from bdlib.data.images import ImageSet


def pixels_in(images: Any) -> Tensor:
    """Images as bytes, in a tensor of their own. Raises ParameterError unless they are bytes, or floats in [0, 1]."""
    tensor = _tensor("images", images)
    if tensor.dtype == torch.uint8:
        if tensor.numel() and tensor.max() <= 1:
            _refuse("images", images, "bytes from 0 to 255, and these have no pixel above 1; floats are from 0 to 1")
        return tensor
    if not tensor.is_floating_point():
        _refuse("images", images, "bytes (uint8, 0 to 255) or floats (0 to 1)")
    low, high = (x.item() for x in tensor.float().aminmax()) if tensor.numel() else (0.0, 1.0)
    if not (low >= 0 and high <= 1):
        _refuse("images", images, f"floats from 0 to 1, and these go from {low:g} to {high:g}")
    return tensor.float().mul(255).round().byte()


def channels_first(images: Tensor, layout: str | None) -> Tensor:
    """Images of shape (n, c, h, w). Raises ParameterError where the shape could be read in two ways, or in none."""
    if images.ndim == 3 and images.shape[2] > 3 and len(images):
        return images[:, None]
    if images.ndim != 4 or not images.numel():
        _refuse("images", images, "one image or more, of shape (n, h, w), (n, c, h, w) or (n, h, w, c)")
    possible = [name for name, axis in (("NCHW", 1), ("NHWC", 3)) if images.shape[axis] in (1, 3)]
    if layout is None and len(possible) == 2:
        _refuse("images", images, "given with layout='NCHW' or layout='NHWC': the shape could be both")
    if (layout or "".join(possible)) not in possible:
        _refuse("images", images, f"of one or three channels{f' where layout={layout!r} has them' if layout else ''}")
    return images if (layout or possible[0]) == "NCHW" else images.permute(0, 3, 1, 2)


def labels_in(labels: Any) -> Tensor:
    """Labels as whole numbers. Raises ParameterError for anything else."""
    tensor = _tensor("labels", np.asarray(labels) if isinstance(labels, list | tuple) else labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or tensor.ndim != 1:
        _refuse("labels", labels, "one whole number for each image, of shape (n,)")
    numbers = tensor.long()  # of unsigned numbers PyTorch knows no smallest one
    if len(numbers) and numbers.min() < 0:
        smallest = int(numbers.min()) + (2**64 if tensor.dtype == torch.uint64 else 0)
        _refuse("labels", labels, f"whole numbers from 0 to {MOST_CLASSES - 1}, and one is {smallest}")
    return numbers


def _tensor(name: str, array: Any) -> Tensor:
    """A copy on the CPU."""
    if isinstance(array, Tensor) and array.layout == torch.strided:
        return array.detach().cpu().clone()
    if (
        isinstance(array, np.ndarray)
        and not isinstance(array, np.ma.MaskedArray)
        and array.dtype.kind in "buif"
        and array.dtype.itemsize <= 8
    ):
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    return _refuse(name, array, "an array of numbers, of NumPy or PyTorch")


def _refuse(name: str, array: Any, allowed: str) -> Any:
    shape, kind = getattr(array, "shape", None), getattr(array, "dtype", type(array).__name__)
    raise ParameterError(f"{name}={kind}{f' of shape {tuple(shape)}' if shape is not None else ''}: must be {allowed}")


def check_set(role: str, data: Any, classes: int, like: ImageSet) -> None:
    """Raise ParameterError unless `data` is square images of bytes as those in `like`, with labels of all classes."""
    if data.images.dtype != torch.uint8 or data.images.ndim != 4 or data.images.shape[1] not in (1, 3):
        _refuse(role, data.images, "bytes of shape (n, 1 or 3, h, w); `image_set` makes them of arrays")
    shape, first = tuple(data.images.shape[1:]), tuple(like.images.shape[1:])
    if shape != first or shape[1] != shape[2] or not len(data):
        _refuse(role, data.images, f"square images{'' if shape == first else f' of shape {first}, as train has them'}")
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise ParameterError(f"{role}: must have labels from 0 to {classes - 1}, one for each class, and has {wrong}")
    if role == "train" and (empty := sorted({*range(classes)} - {*data.labels.tolist()})):
        raise ParameterError(f"train: must have an image of every class, and has none of class {empty[0]}")


def names_of(train: Any, test: Any, class_names: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes: as given, or as both sets have them, or the labels themselves."""
    for role, data in (("train", train), ("test", test)):
        if not isinstance(data, ImageSet):
            _refuse(role, data, "an ImageSet, as image_set, load_folder and load_parquet make it")
    first, second = getattr(train, "class_names", ()), getattr(test, "class_names", ())
    if first and second and first != second:
        odd = sorted({*first} ^ {*second}) or ["their order"]
        raise ParameterError(f"test: must have the classes of train, in that order; they differ in {odd[0]!r}")
    if class_names is None and not len(train):
        raise ParameterError("train: must have images")
    names = tuple(class_names or first or second or map(str, range(int(train.labels.max()) + 1)))
    if len(names) < 2 or len(set(names)) < len(names):
        raise ParameterError(f"class_names={list(names)}: must be two names or more, all different")
    return names
