"""Pictures as people keep them: of any size and kind, in one folder for each class."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bdlib.data._files import DataError, opened
from bdlib.words import one_line

MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "PA", "RGBA"}  # 8 bits a channel or less
LEFT_BY_SYSTEMS = {"thumbs.db", "desktop.ini"}  # beside files whose names begin with a dot


def pixels_of(content: bytes, where: str, size: int, channels: int) -> np.ndarray:
    """An encoded picture as (channels, size, size) bytes.

    Raises DataError, which says `where` it is, for what can be shown in more than one way.
    """
    image = opened(content, where)
    frames: int = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a photo with its previews
        raise DataError(f"{where}: has {frames} frames; keep one")
    if image.mode not in MODES:
        raise DataError(f"{where}: has pixels of mode {image.mode}; save it with 8 bits a channel, gray or RGB")
    if "transparency" in image.info or "A" in image.mode:
        if np.asarray(image.convert("RGBA").getchannel("A")).min() < 255:
            raise DataError(f"{where}: has transparent pixels; put it on a background first")
    turned = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
    square = turned if turned.size == (size, size) else turned.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def folders_of(folder: Path, class_names: Sequence[str] | None) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """The classes of a folder, in the order of their labels, and each image file with its label.

    Raises DataError, which names the file or folder, for anything that is neither.
    """
    entries = _entries(folder)
    folders = [path.name for path in entries if path.is_dir()]
    for path in entries:
        if not path.exists():
            raise DataError(f"{path}: is a link to nothing")
        if path.suffix.lower() in Image.registered_extensions() and not path.is_dir():
            raise DataError(f"{path} is in no folder of a class")
    names = tuple(folders if class_names is None else class_names)
    if strange := [name for name in folders if name not in names or not name.isprintable()]:
        raise DataError(f"{folder / strange[0]}: is no class in class_names" if class_names is not None else
                        f"{folder}: the name of the folder {strange[0]!r} cannot be printed")  # fmt: skip
    if len(names) < 2 or not folders:
        raise DataError(f"{folder}: must hold two folders or more, one for each class; it has {len(folders)}")
    if all(name.isdecimal() for name in names) and [int(name) for name in names] != [*range(len(names))]:
        first = next(label for label, name in enumerate(names) if int(name) != label)
        line = f"{folder}: labels count the folders by name, so the folder {names[first]} is label {first}"
        warnings.warn(one_line(line), stacklevel=4)
    return names, [(path, names.index(name)) for name in folders for path in _files(folder / name)]


def _files(folder: Path) -> list[Path]:
    """The files of a class, by name."""
    files = _entries(folder)
    for path in files:
        if not path.is_file():
            raise DataError(f"{path}: is no image; the folder of a class holds nothing else")
    if not files:
        raise DataError(f"{folder}: holds no images")
    return files


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, by name, without hidden files."""
    try:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})") from error
    return [path for path in paths if path.name[0] != "." and path.name.lower() not in LEFT_BY_SYSTEMS]
