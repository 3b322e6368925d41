"""Weights in the cache: files with a checksum (`bdlib.data.tensor_files`), made by one process at a time."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor, nn

from bdlib.data.tensor_files import load_tensors, save_tensors, set_aside
from bdlib.files import FileError
from bdlib.folders import can_write, check_can_write
from bdlib.words import one_line

LEARNED = "the trigger / "  # what the names of its tensors begin with in the file of the victim trained with it


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside the block no other process is inside one for the same path; the path's folder is made.

    Locks that nobody holds are removed from the folder. A file that is there can be read without a lock from a folder
    that cannot be written to. Raises ParameterError, before any compute, where such a folder lacks the file,
    and FileError where the lock cannot be made.
    """
    if path.is_file() and not can_write(path.parent):
        yield
        return
    check_can_write(path.parent, "BDLIB_CACHE")
    lock = path.with_suffix(".lock")
    for other in path.parent.glob("*.lock"):
        if other != lock:
            with suppress(Timeout, OSError), FileLock(other, timeout=0):
                other.unlink()
    held = FileLock(lock)
    try:
        held.acquire()
    except OSError as error:
        raise FileError(f"{lock}: must be a file that can be locked: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)  # who waits for it notices, and makes a new one
        held.release()


def tensors_of(model: nn.Module, trigger: nn.Module | None) -> dict[str, Tensor]:
    """What a victim's file holds: the network's weights, and those of the trigger that was trained with it."""
    learned = {} if trigger is None else trigger.state_dict()
    return model.state_dict() | {LEARNED + name: tensor for name, tensor in learned.items()}


def without_trigger(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's weights out of a victim's file."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(LEARNED)}


def of_trigger(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trigger's weights out of a victim's file."""
    return {name.removeprefix(LEARNED): tensor for name, tensor in tensors.items() if name.startswith(LEARNED)}


def load_checkpoint(module: nn.Module, path: Path, prefix: str = "") -> bool:
    """Put a file's weights into `module`; false where there are none to read, as `load_tensors` says.

    Only those whose names begin with `prefix`; without one, all but those of a learned trigger.
    """
    tensors = load_tensors(path)
    if tensors is None:
        return False
    own = of_trigger(tensors) if prefix else without_trigger(tensors)
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        set_aside(path, str(error))
        return False
    return True


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors to a file, with `facts` about their making beside them; a warning says where that is not possible.

    What was trained is worth more than its copy in the cache: a full disk does not end the run.
    """
    try:
        save_tensors(path, tensors, {key: json.dumps(value) for key, value in facts.items()})
    except OSError as error:
        line = f"{path} cannot be written ({error.strerror}); it is made again next time"
        warnings.warn(one_line(line), stacklevel=3)
