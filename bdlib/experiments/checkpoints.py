"""Weights on disk: safetensors only, written whole, read back into a module that is there already."""

import json
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from bdlib.runtime import write_whole

LEARNT = "trigger."  # what stands before the names of a learnt trigger's tensors in its victim's file


def load_checkpoint(module: nn.Module, path: Path, prefix: str = "") -> bool:
    """Put the weights of a file into `module`; false, with a warning, where it cannot be read.

    Only those whose names begin with `prefix`; without one, all but those of a learnt trigger.
    """
    try:
        tensors = tensors_in(path.read_bytes())
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix or LEARNT) == bool(prefix)
        }
        module.load_state_dict(own)
    except (SafetensorError, RuntimeError, KeyError) as error:
        warnings.warn(f"{path} cannot be read ({error}); it is made again", stacklevel=4)
        return False
    return True


def keep(path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write weights to a file, with `facts` about their making beside them."""
    metadata = {key: json.dumps(value) for key, value in facts.items()}
    whole = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    write_whole(path, bytes_of(whole, metadata=metadata))
