"""The versions of the code that decide a run's numbers: the NUMBERS_VERSION of every module that takes part in it."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from bdlib.attacks import ATTACKS, SELECTIONS
from bdlib.data import datasets, images
from bdlib.defenses import DEFENSES
from bdlib.evaluation import metrics
from bdlib.mechanisms import MECHANISMS
import bdlib.models
from bdlib.training import loop


def versions(paper: str, parameters: dict[str, Any]) -> dict[str, int]:
    """By the part each plays in a run with these parameters: the trainer, the data, the attack, the defense, ..."""
    parts = {"loop": loop, "images": images, "models": bdlib.models, "datasets": datasets, "metrics": metrics}
    modules: dict[str, Any] = {**parts, "selection": module_of(SELECTIONS[parameters.get("selection", "random")])}
    if (defense := defense_of(paper, parameters)) != "none":
        modules["defense"] = module_of(DEFENSES[defense])
    if is_measured(paper, parameters):
        modules["mechanism"] = module_of(MECHANISMS[paper])
    return {"attack": 1} | {part: getattr(module, "NUMBERS_VERSION", 1) for part, module in modules.items()}


def defense_of(paper: str, parameters: dict[str, Any]) -> str:
    """The key of the defense of a run: the one that a parameter `defense` names, or else the paper's own."""
    return parameters.get("defense", paper)


def is_measured(paper: str, parameters: dict[str, Any]) -> bool:
    """Whether a run measures the paper's mechanism: it has one, and no control ran in the defense's place."""
    return paper in MECHANISMS and defense_of(paper, parameters) in (paper, "none")


def module_of(function: Callable[..., Any]) -> Any:
    """The module that defines a function."""
    function = function.func if isinstance(function, partial) else function
    return sys.modules[inspect.unwrap(function).__module__]
