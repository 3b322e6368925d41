"""Where files are read and written. It loads without PyTorch, so that the command line can ask it at once.

In a checkout everything is inside the checkout. A wheel carries what the library reads (notebooks, parameters, records,
claims) and writes outside itself: what can be made again to the user's cache folder, records of single runs to the
current folder. The same holds for a checkout that cannot be written to.
"""

import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_dir

PACKAGE = Path(__file__).parent
BUNDLE = PACKAGE / "_book"  # in a wheel only: notebooks/, results/, zoo/ and book/claims.yaml of the checkout
ROOT = BUNDLE if BUNDLE.is_dir() else PACKAGE.parent


def folder_of(variable: str, default: Path) -> Path:
    """The folder that the environment variable names; `default` where it is unset or empty."""
    return Path(os.environ.get(variable) or default).expanduser().absolute()


def can_write(folder: Path) -> bool:
    """Whether files may be put into a folder, which need not exist yet. Never into what a wheel brought with it."""
    if BUNDLE.is_dir() and BUNDLE in (folder, *folder.parents):
        return False
    nearest = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def check_can_write(folder: Path, variable: str) -> None:
    """Make `folder`, which the environment variable decides, or raise ParameterError if no file can be put into it.

    >>> check_can_write(RESULTS, "BDLIB_RESULTS")
    """
    from bdlib.checks import ParameterError  # pydantic takes a fifth of a second

    reason = "it is part of the installed package"
    try:
        if can_write(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return
        if BUNDLE not in folder.parents:
            reason = "it cannot be written to"
    except OSError as error:
        reason = error.strerror or str(error)
    raise ParameterError(f"{variable}={str(folder)!r}: {reason}; set {variable} to a folder of your own")


def user_folder() -> Path:
    """Where a user's programs keep what can be fetched or made again, such as ~/.cache/bdlib on Linux.

    Without a home directory that can be written to, it is a folder of the user's in the temporary one.
    """
    folder = Path(user_cache_dir("bdlib", appauthor=False))
    if folder.is_absolute() and can_write(folder):
        return folder
    return Path(tempfile.gettempdir(), f"bdlib-{os.getuid() if hasattr(os, 'getuid') else 'cache'}")


IN_PLACE = can_write(ROOT)  # a checkout of one's own
RESULTS = folder_of("BDLIB_RESULTS", ROOT / "results")
CACHE = folder_of("BDLIB_CACHE", ROOT / "build" / "cache" if IN_PLACE else user_folder())
RUNS = ROOT / "build" / "runs" if IN_PLACE else Path("bdlib-runs")  # records of single runs
ZOO = ROOT / "zoo"  # published victims
REPORTED = ROOT / "results" / "reported"  # the published numbers
