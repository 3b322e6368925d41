"""Data files: read only if their checksum is known, and decoded to pixels."""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image


class DataError(RuntimeError):
    """A data file is missing, or is not the file it should be."""


def read_verified(path: Path, known: dict[str, str]) -> bytes:
    """The bytes of a file whose SHA-256 is the one in `known`; DataError for any other file."""
    if not path.is_file():
        raise DataError(f"{path} is missing; restore it from the repository, or from where it came")
    if path.name not in known:
        raise DataError(f"{path}: no checksum known; if you trust it, run `sha256sum *.parquet > SHA256SUMS` beside it")
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != known[path.name]:
        raise DataError(f"{path} is truncated or altered: SHA-256 {actual[:12]}..., not {known[path.name][:12]}...")
    return content


def read_sums(path: Path, *, prefix: str = "") -> dict[str, str]:
    """File name to SHA-256, of the lines in a `sha256sum` listing whose names begin with `prefix`."""
    if not path.is_file():
        return {}
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    return {row[1].lstrip("*")[len(prefix) :]: row[0] for row in rows if row[1].lstrip("*").startswith(prefix)}


def decode(content: bytes) -> np.ndarray:
    """An encoded image as (3, h, w) bytes."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)


def resize(image: Image.Image, size: int) -> np.ndarray:
    """An image as (3, size, size) bytes, by bilinear interpolation where its size differs."""
    square = image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square.convert("RGB")).transpose(2, 0, 1)


def stack(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(images)))
