"""What a stranger's process may take, where it may not look, and the error that says what it did instead."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bdlib.checks import CheckedFields
from bdlib.data._download import downloads_folder
from bdlib.data._parquet import ASSETS
from bdlib.folders import CACHE, RESULTS, ROOT, RUNS, ZOO
from bdlib.words import OneLineError


class SubmissionError(OneLineError, RuntimeError):
    """A stranger's code did not do what it must. The message is one line that says what happened."""


@dataclass(frozen=True)
class Limits(CheckedFields):
    """What a stranger's process may take. It is ended, with all that it has started, when it takes more."""

    seconds: Annotated[float, Field(gt=0, le=1_000_000)] = 600.0  # until the function has returned
    gigabytes: Annotated[float, Field(ge=0.1, le=10_000)] = 6.0  # of memory, PyTorch's own 0.4 among them
    answer_seconds: Annotated[float, Field(gt=0, le=1_000_000)] = 300.0  # for one question, such as all test images


def forbidden_folders() -> list[str]:
    """Where data, victims, records and results are."""
    data = [Path(place)] if (place := os.environ.get("BDLIB_DATA")) else []
    places = [CACHE, RESULTS, ZOO, RUNS, ROOT / "results", ROOT / "build", ASSETS, downloads_folder(), *data]
    return [str(folder.absolute()) for folder in places]
