"""Vocabulary of what trains a network from scratch: defences that do not wait for a finished one, and surrogates."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import nn

MakeModel: TypeAlias = Callable[[], nn.Module]  # an untrained network on the CPU, the same one at every call
Watch: TypeAlias = Callable[[str, Any], None]  # is shown what each stage made, by name: for figures and measures only


def unwatched(name: str, made: Any) -> None:
    """The default of every `watch`."""
