"""Where results go: checked before compute, never lost after it; and the folder in which a kernel runs."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bdlib.checks import ParameterError
from bdlib.files import draft_of, own_name, remove, sweep, write_whole
from bdlib.folders import RUNS
from bdlib.words import one_line

LONGEST = 60  # bytes of a folder's path; the system allows 107 for a socket's, and 46 are what follows


def check_place(name: str, path: Path) -> None:
    """Raise ParameterError, naming the parameter, unless a file can be written at `path`. Its folder is made.

    Example: `check_place("record", Path("runs/one.json"))`
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is a folder" if path.is_dir() else "it is no ordinary file")
        draft = draft_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(b"")
        draft.unlink()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ParameterError(f"{name}={str(path)!r}: must be a file that can be written: {why}") from None


def write_or_rescue(path: Path, content: bytes) -> Path:
    """Write a finished result, whole; returns where it is.

    Where `path` cannot be written, that is the folder `rescued` beside the records of single runs, or else the
    temporary folder, and a warning says so. Raises OSError where that fails too.
    """
    try:
        return write_whole(path, content)
    except (OSError, ValueError) as error:
        for folder in (RUNS / "rescued", Path(tempfile.gettempdir())):
            try:
                place = write_whole(folder / path.name.replace("\0", ""), content)
            except (OSError, ValueError):
                continue
            why = error.strerror if isinstance(error, OSError) else error
            warnings.warn(one_line(f"{path} cannot be written ({why}); it is in {place}"), stacklevel=2)
            return place
        raise


@contextmanager
def kernel_folder() -> Iterator[tuple[Path, str]]:
    """A private folder that is gone after the block, and the transport of a kernel whose connection file is in it.

    It is in the temporary folder, or in /tmp where that one's path is too long for sockets. Sockets ("ipc") are
    preferred to ports ("tcp"): notebooks that start side by side take each other's ports. Folders that killed
    processes have left are removed.
    """
    places = [place for place in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]) if os.path.isdir(place)]
    for place in places:
        sweep(Path(place), "bdlib-*.part")
    short = [place for place in places if len(os.fsencode(place)) <= LONGEST and os.access(place, os.W_OK | os.X_OK)]
    place, transport = (short[0], "ipc") if short and os.name == "posix" else (places[0], "tcp")
    folder = Path(tempfile.mkdtemp(prefix="bdlib-", suffix=f".{own_name()}.part", dir=place))
    try:
        yield folder, transport
    finally:
        remove(folder)
