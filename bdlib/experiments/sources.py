"""Which copy of a data set a cached file was made from."""

import json
import warnings
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bdlib.data.datasets import source_of
from bdlib.experiments.config import VictimConfig
from bdlib.words import one_line


def made_from_these_data(path: Path, config: VictimConfig) -> bool:
    """False, with a warning, where a cached file was made from another source of the data set than the one here.

    The same data set from Parquet files and from its authors' archive differs in its order and in some pixels.
    """
    with suppress(OSError, ValueError, RecursionError, SafetensorError), safe_open(path, "pt") as file:
        # a damaged one is found when it is read
        made_from = json.loads((file.metadata() or {}).get("source", "null"))
        if made_from is not None and made_from != source_of(config.dataset):
            line = f"{path} was made from another copy of {config.dataset} than the one that is here now"
            warnings.warn(one_line(f"{line}; it is made again"), stacklevel=4)
            return False
    return True
