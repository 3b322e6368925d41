"""The versions of the code that decide a run's numbers: the NUMBERS_VERSION of every module that takes part in it."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import bdlib.models
from bdlib.attacks import SELECTIONS, poisoning
from bdlib.attacks.selection import ranking
from bdlib.data import datasets, images
from bdlib.defenses import DEFENSES
from bdlib.evaluation import metrics
from bdlib.experiments import keys
from bdlib.experiments.config import VictimConfig
from bdlib.mechanisms import MECHANISMS
from bdlib.training import loop

OF_VICTIMS = {
    "datasets": datasets,
    "images": images,
    "models": bdlib.models,
    "loop": loop,
    "poisoning": poisoning,
    "victims": keys,
}


def versions(paper: str, parameters: dict[str, Any]) -> dict[str, int]:
    """The version of each part that decides the numbers of a run with these parameters, by the name of the part.

    >>> versions("nad", notebooks.parameters("nad", "quick"))["defense"]
    """
    modules = {"metrics": metrics}
    if (defense := defense_of(paper, parameters)) != "none":
        modules["defense"] = module_of(DEFENSES[defense])
    if is_measured(paper, parameters):
        modules["mechanism"] = module_of(MECHANISMS[paper])
    if "selection" in parameters:
        modules |= {"selection": module_of(SELECTIONS[parameters["selection"]]), "ranking": ranking}
    config = VictimConfig.from_parameters(parameters)
    return victim_versions(config) | {part: module.NUMBERS_VERSION for part, module in modules.items()}


def victim_versions(config: VictimConfig) -> dict[str, int]:
    """As `versions`, of what decides a victim, without the selection of the images to poison."""
    numbers = {part: module.NUMBERS_VERSION for part, module in OF_VICTIMS.items()}
    return {"attack": config.attack_object.NUMBERS_VERSION, **numbers}


def defense_of(paper: str, parameters: dict[str, Any]) -> str:
    """The key of the defense of a run: the one that a parameter `defense` names, or else the paper's own."""
    return parameters.get("defense", paper)


def is_measured(paper: str, parameters: dict[str, Any]) -> bool:
    """Whether a run measures the paper's mechanism: it has one, and the paper's own defense ran, if it has one."""
    return paper in MECHANISMS and defense_of(paper, parameters) == (paper if paper in DEFENSES else "none")


def module_of(function: Callable[..., Any]) -> ModuleType:
    """The module that defines a function."""
    function = function.func if isinstance(function, partial) else function
    return sys.modules[inspect.unwrap(function).__module__]
