"""The names of what is cached: digests of the settings and versions that decide it, never of source text.

So code can move and be renamed. A change that moves numbers raises a NUMBERS_VERSION.
"""

import sys
from collections.abc import Callable
from functools import partial
from inspect import unwrap
from types import ModuleType
from typing import Any

from bdlib import models
from bdlib.attacks import SELECTIONS, poisoning
from bdlib.attacks.selection import ranking
from bdlib.data import datasets, images
from bdlib.experiments.config import VictimConfig
from bdlib.models import MODELS
from bdlib.models.own import OwnNetwork, fingerprint
from bdlib.runtime import digest, settings_of
from bdlib.training import loop

NUMBERS_VERSION = 1  # raise it when a change in `experiments.victims` or `experiments.config` changes what is made

MODULES = {"datasets": datasets, "images": images, "models": models, "loop": loop, "poisoning": poisoning}
_OF_SELECTIONS = ("rounds", "round_epochs", "iterations", "iteration_epochs", "keep_ratio")


def victim_key(config: VictimConfig) -> str:
    """Of a victim's weights; changes with every setting that has a part in them."""
    own = {name: value for name, value in settings_of(config).items() if name not in _OF_SELECTIONS}
    selection = None if config.selection == "random" else _selection(config)
    return digest(own, settings_of(config.schedule), _attack(config), selection, _common(config))


def victim_name(config: VictimConfig) -> str:
    """What a victim's file is called, without its ending."""
    return f"{made_of(config)}-{config.poison_rate:g}-seed{config.seed}-{victim_key(config)}"


def made_of(config: VictimConfig) -> str:
    """How the names of a configuration's files begin: data set, network and attack."""
    return f"{config.dataset}-{config.model}-{config.attack}"


def trigger_key(config: VictimConfig) -> str:
    """Of an optimized trigger; the poison rate and the target label have no part in it."""
    return digest(config.seed, _attack(config), _common(config))


def selection_key(config: VictimConfig) -> str:
    """Of the images that a selection found."""
    return digest(_selection(config), _attack(config), _common(config))


def _common(config: VictimConfig) -> list[Any]:
    """What all of these depend on."""
    versions = [NUMBERS_VERSION, *(module.NUMBERS_VERSION for module in MODULES.values())]
    own = own_versions(config).values()
    return [config.dataset, settings_of(config.facts), settings_of(config.data_fraction), config.model, versions, *own]


def own_versions(config: VictimConfig) -> dict[str, int]:
    """Digests of own data and of an own network: two of the same name are told apart by them, in keys and records."""
    build, digests = MODELS[config.model], {}
    if config.facts.content:
        digests["own_data"] = int(config.facts.content[:8], 16)
    if isinstance(build, OwnNetwork):
        digests["own_network"] = int(fingerprint(build, config.facts), 16)
    return digests


def _attack(config: VictimConfig) -> list[Any]:
    """The attack's own settings, with its version, and those of its fixed trigger."""
    triggers = ("trigger", "gray_trigger")
    own = {name: value for name, value in settings_of(config.attack_object).items() if name not in triggers}
    return [config.attack, own, settings_of(config.attack_object.fixed_trigger(config.facts.channels))]


def _selection(config: VictimConfig) -> list[Any]:
    """The selection's settings and its version."""
    keywords = {name: settings_of(value) for name, value in sorted(config.selection_settings.items())}
    return [config.selection, keywords, [*selection_versions(config.selection).values()]]


def selection_versions(selection: str) -> dict[str, int]:
    """The versions of the parts that choose the images to poison, by the name of the part."""
    return {
        "selection": module_of(SELECTIONS[selection]).NUMBERS_VERSION,
        "ranking": ranking.NUMBERS_VERSION,
    }


def module_of(function: Callable[..., Any]) -> ModuleType:
    """The module that defines a function."""
    function = function.func if isinstance(function, partial) else function
    return sys.modules[unwrap(function).__module__]
