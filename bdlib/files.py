"""Files: written whole or not at all, read with errors of one line, swept and set aside."""

import os
import platform
import re
import shutil
import zlib
from contextlib import suppress
from pathlib import Path

from bdlib.words import OneLineError

DRAFT = re.compile(r"\.(?:([0-9a-f]{8})-)?(\d+)\.part$")  # how a draft's name ends: its writer's machine and number


class FileError(OneLineError, ValueError):
    """A file, or a setting of the environment, is not what it should be. The message is one line that names it."""


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, so that nobody reads half of it. Returns `path`.

    Drafts that killed writers have left in its folder are removed. Raises OSError, which names the file.
    """
    draft = draft_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return path


def read_text(path: Path) -> str:
    """A file's text. Raises FileError, in one line that names it, where there is no file, or no text in it."""
    if not path.is_file():
        raise FileError(f"{path}: it is no file" if path.exists() or path.is_symlink() else f"{path}: it is missing")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{path}: it is no text in UTF-8") from None
    except OSError as error:
        raise FileError(f"{path}: it cannot be read: {error.strerror}") from None


def draft_of(path: Path) -> Path:
    """Where this process writes a file before it gets its name. Raises ValueError for a path that names no file."""
    return path.with_name(f"{path.name}.{own_name()}.part")


def own_name() -> str:
    """What the names of this process's drafts hold: eight digits for the machine, and the process's number."""
    return f"{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}"


def sweep(folder: Path, pattern: str = "*.part") -> None:
    """Remove the drafts of this pattern, files or folders, that killed processes of this machine have left."""
    machine = own_name().partition("-")[0]
    for path in folder.glob(pattern):
        writer = DRAFT.search(path.name)
        if writer and writer[1] in (None, machine) and not _is_alive(int(writer[2])):
            remove(path)


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere the question below is a signal that stops the process
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing happens where there is none, or where that is not allowed."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that a new one can take its place; returns where it is. The last one is kept."""
    aside = path.with_name(f"{path.name}.damaged")
    remove(aside)
    return path.replace(aside)
