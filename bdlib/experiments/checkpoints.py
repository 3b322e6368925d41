"""Tensors on disk: safetensors only, written whole, checked on every read against a checksum of the whole file."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from bdlib.runtime import FileError, set_aside, write_whole

LEARNED = "trigger."  # what the names of a trigger's tensors begin with in the file of the victim it was trained with
SEAL = b'"sha256":"'  # what stands in the file's header before the checksum
BLANK = b"0" * 64  # what stands in the checksum's place while it is computed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside the block no other process is inside one for the same path; the path's folder is made.

    Locks that nobody holds are removed from the folder. Raises OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    for other in path.parent.glob("*.lock"):
        if other != lock:
            with suppress(Timeout, OSError), FileLock(other, timeout=0):
                other.unlink()
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # who waits for it notices, and makes a new one


def read_checkpoint(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file, by name, each as it was saved; None where there is no file.

    A file that is damaged, that belongs under another name, or that has no checksum, as those written by earlier
    versions, is set aside with a warning that names it: None, and it is to be made anew.
    """
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return tensors_in(_verified(path))
    except (FileError, SafetensorError) as error:
        _set_aside(path, error)
        return None


def load_checkpoint(module: nn.Module, path: Path, prefix: str = "") -> bool:
    """Put a file's weights into `module`; false where there are none to read, as `read_checkpoint` says.

    Only those whose names begin with `prefix`; without one, all but those of a learned trigger.
    """
    tensors = read_checkpoint(path)
    if tensors is None:
        return False
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()
           if name.startswith(prefix or LEARNED) == bool(prefix)}  # fmt: skip
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        _set_aside(path, error)
        return False
    return True


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors to a file, with `facts` about their making beside them, and a checksum of all of it."""
    metadata = {key: json.dumps(value) for key, value in facts.items()} | {"sha256": BLANK.decode()}
    whole = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    content = bytes_of(whole, metadata=metadata)
    write_whole(path, content.replace(SEAL + BLANK, SEAL + _checksum(path, content), 1))


def _checksum(path: Path, content: bytes) -> bytes:
    """Of a file's name and its bytes, the checksum in them being blank: 64 hexadecimal digits."""
    return hashlib.sha256(path.name.encode() + content).hexdigest().encode()


def _verified(path: Path) -> bytes:
    """The bytes of a file. Raises FileError unless they are those that were written under its name."""
    if not path.is_file():
        raise FileError("it is no file")
    content = path.read_bytes()
    before, seal, after = content.partition(SEAL)
    if not seal:
        raise FileError("it has no checksum")
    if _checksum(path, before + SEAL + BLANK + after[64:]) != after[:64]:
        raise FileError("its content is not what was written under its name")
    return content


def _set_aside(path: Path, error: Exception) -> None:
    line = " ".join(str(error).split())
    aside = set_aside(path).name
    warnings.warn(f"{path} cannot be read ({line}); it is made again, the old one is kept as {aside}", stacklevel=5)
