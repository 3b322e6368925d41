"""Decoded images in the cache, whose files are verified whenever they are read."""

import warnings
from collections.abc import Callable

from bdlib.data._files import in_one_line
from bdlib.data.images import ImageSet
from bdlib.data.tensor_files import load_tensors, save_tensors
from bdlib.folders import CACHE
from bdlib.words import one_line


def cached(name: str, make: Callable[[], tuple[ImageSet, ...]]) -> tuple[ImageSet, ...]:
    """Image sets from the cache, where they are verified, or else as `make` makes them, which are then kept there."""
    path = CACHE / "datasets" / f"{name}.safetensors"
    tensors = load_tensors(path)
    if tensors is not None:
        return tuple(ImageSet(tensors[f"images{i}"], tensors[f"labels{i}"]) for i in range(len(tensors) // 2))
    parts = make()
    tensors = {f"{kind}{i}": getattr(part, kind) for i, part in enumerate(parts) for kind in ("images", "labels")}
    try:
        save_tensors(path, tensors)
    except OSError as error:
        line = f"{path} cannot be written ({in_one_line(error)}); it is decoded again next time"
        warnings.warn(one_line(line), stacklevel=2)
    return parts
