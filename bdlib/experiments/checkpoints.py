"""Tensors on disk: safetensors only, written whole, read back into a module that is there already."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from bdlib.folders import check_can_write
from bdlib.runtime import write_whole

LEARNED = "trigger."  # what the names of a trigger's tensors begin with in the file of the victim it was trained with


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside the block no other process is inside one for the same path; the path's folder is made.

    Raises ParameterError, before any compute, where the folder cannot be written to.
    """
    check_can_write(path.parent, "BDLIB_CACHE")
    with FileLock(path.with_suffix(".lock")):
        yield


def read_checkpoint(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file, by name; None where there is no file, and, with a warning, where it cannot be read."""
    try:
        return tensors_in(path.read_bytes()) if path.is_file() else None
    except SafetensorError as error:
        _warn(path, error)
        return None


def load_checkpoint(module: nn.Module, path: Path, prefix: str = "") -> bool:
    """Put a file's weights into `module`; false where there is no file, and, with a warning, where they do not fit.

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
        _warn(path, error)
        return False
    return True


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors to a file, with `facts` about their making beside them."""
    metadata = {key: json.dumps(value) for key, value in facts.items()}
    whole = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    write_whole(path, bytes_of(whole, metadata=metadata))


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(f"{path} cannot be read ({error}); it is made again", stacklevel=5)
