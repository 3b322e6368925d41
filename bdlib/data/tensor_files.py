"""Tensors on disk: safetensors with a checksum of the whole file inside, checked at every read.

The checksum is the SHA-256 of the file as it is with 64 zeros in its place. So it covers every byte: tensors, names,
shapes, types, metadata. A file also holds the folder and the name that it was written under, and is no other's.
"""

import json
import os
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save
from torch import Tensor, contiguous_format

from bdlib import files
from bdlib.files import write_whole
from bdlib.words import one_line

ZEROS = "0" * 64
SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write named tensors, and text about them, to a file that `load_tensors` verifies. Returns `path`.

    Tensors come back on the CPU and contiguous. The metadata has no key "sha256" or "file".

    Example::

        save_tensors(CACHE / "victims" / "a.safetensors", model.state_dict(), {"seed": "0"})
    """
    content = bytes_of(tensors, {**(metadata or {}), "file": _label(path), "sha256": ZEROS})
    start = _seal_in(content)
    sealed = content[:start] + _sum_of(content, start).encode() + content[start + 64 :]
    return write_whole(path, sealed)


def bytes_of(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Named tensors, and text about them, as the content of a safetensors file; `tensors_in` reads it."""
    whole = {name: tensor.detach().cpu().clone(memory_format=contiguous_format) for name, tensor in tensors.items()}
    return save(whole, metadata=metadata)


def load_tensors(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file written by `save_tensors`; None where there is no file, or where it is not as written.

    A file that is damaged, has no checksum or belongs to another name is warned about in one line, and renamed to
    `<name>.damaged`, so that the caller makes it anew.

    Example: ``load_tensors(path) or made_anew(path)``
    """
    if not os.path.lexists(path):
        return None
    try:
        return verified_tensors(path.read_bytes(), path)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, SafetensorError) as error:
        set_aside(path, str(error))
        return None


def verified_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the `content` of the file `path`. Raises ValueError unless it is as `save_tensors` wrote it."""
    start = _seal_in(content)
    if content[start : start + 64].decode() != _sum_of(content, start):
        raise ValueError("damaged: its SHA-256 is not the one inside it")
    written_as = json.loads(content[8 : _header_end(content)])["__metadata__"]["file"]
    if written_as != _label(path):
        raise ValueError(f"it was written as {written_as}")
    return tensors_in(content)


def set_aside(path: Path, why: str) -> None:
    """Warn in one line that a file cannot be used, and rename it to `<name>.damaged`, over one of that name."""
    line = f"{path} is not used ({' '.join(why.split())}); it is made anew, the old one is now {path.name}.damaged"
    with suppress(OSError):
        files.set_aside(path)
    warnings.warn(one_line(line), stacklevel=4)


def _label(path: Path) -> str:
    """What a file says about its place; the cache around it may move."""
    return f"{path.parent.name}/{path.name}"


def _header_end(content: bytes) -> int:
    return min(len(content), 8 + int.from_bytes(content[:8], "little"))


def _seal_in(content: bytes) -> int:
    """Where the checksum begins in a file's content."""
    match = SEAL.search(content, 0, _header_end(content))
    if not match:
        raise ValueError("no checksum inside it")
    return match.start(1)


def _sum_of(content: bytes, start: int) -> str:
    """The checksum of a file's content, whose own digits begin at `start`."""
    view = memoryview(content)
    total = sha256(view[:start])
    total.update(ZEROS.encode())
    total.update(view[start + 64 :])
    return total.hexdigest()
