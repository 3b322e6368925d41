"""What a cached file says about its making: which copy of a data set, how many threads."""

import json
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bdlib.data.datasets import source_of
from bdlib.experiments.config import VictimConfig
from bdlib.words import one_line


def made_from_these_data(path: Path, config: VictimConfig) -> bool:
    """False, with a warning, where a cached file was made from another source of the data set than the one here.

    The same data set from Parquet files and from its authors' archive differs in its order and in some pixels.
    """
    made_from = fact_of(path, "source")
    if made_from is not None and made_from != source_of(config.dataset):
        line = f"{path} was made from another copy of {config.dataset} than the one that is here now"
        warnings.warn(one_line(f"{line}; it is made again"), stacklevel=4)
        return False
    return True


def fact_of(path: Path, name: str) -> Any:
    """One fact that a cached file tells about its making; None where it, or the file, is not there.

    Example: `fact_of(victim_path(config), "threads")` is "2".
    """
    with suppress(OSError, ValueError, RecursionError, SafetensorError), safe_open(path, "pt") as file:
        # a damaged one is found when it is read
        return json.loads((file.metadata() or {}).get(name, "null"))
    return None
