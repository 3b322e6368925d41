"""Data files: read only if their checksum is known, and decoded to pixels."""

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from bdlib.words import OneLineError

FORMATS = ("PNG", "JPEG", "WEBP", "PPM", "BMP", "GIF", "TIFF", "JPEG2000")  # none that runs a program, as EPS


class DataError(OneLineError, RuntimeError):
    """A data file is missing, or is not the file it should be."""


def read_verified(path: Path, known: dict[str, str]) -> bytes:
    """The bytes of a file whose SHA-256 is the one in `known`; DataError for any other file."""
    if not path.is_file():
        raise DataError(f"{path} is missing; restore it from the repository, or from where it came")
    if path.name not in known:
        raise DataError(f"{path}: no checksum known; if you trust it, run `sha256sum *.parquet > SHA256SUMS` beside it")
    content = read_whole(path)
    actual = hashlib.sha256(content).hexdigest()
    if actual != known[path.name]:
        raise DataError(f"{path} is truncated or altered: SHA-256 {actual[:12]}..., not {known[path.name][:12]}...")
    return content


def read_whole(path: Path) -> bytes:
    """The bytes of a file; DataError, which names it, if they cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def read_sums(path: Path, *, prefix: str = "") -> dict[str, str]:
    """File name to SHA-256, of the lines in a `sha256sum` listing whose names begin with `prefix`."""
    if not path.exists():
        return {}
    try:
        rows = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        sums = {name.strip().lstrip("*"): known.lower() for known, name in rows}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a list that `sha256sum` writes ({in_one_line(error)})") from error
    return {name[len(prefix) :]: known for name, known in sums.items() if name.startswith(prefix)}


def opened(content: bytes, where: str) -> Image.Image:
    """An encoded image, wholly decoded. Raises DataError, which says `where` it is, for anything else."""
    try:
        if content.startswith(b"\x89PNG"):  # it has checksums inside, which decoding does not look at
            Image.open(io.BytesIO(content), formats=FORMATS).verify()
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        image.load()
    except Exception as error:  # what a decoder raises for damaged bytes is not listed anywhere
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({in_one_line(error)})"
        raise DataError(f"{where}: not an image that can be read{reason}") from error
    return image


def decode(content: bytes, where: str) -> np.ndarray:
    """An encoded image as (3, h, w) bytes; DataError, which says `where` it is, if it is none."""
    return np.asarray(opened(content, where).convert("RGB")).transpose(2, 0, 1)


def resize(image: Image.Image, size: int) -> np.ndarray:
    """An image as (3, size, size) bytes, by bilinear interpolation where its size differs."""
    square = image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square.convert("RGB")).transpose(2, 0, 1)


def stack(images: list[np.ndarray]) -> torch.Tensor:
    """Images of one shape as one tensor."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images)))


def in_one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
