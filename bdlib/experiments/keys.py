"""The names of what is cached: digests of the settings and versions that decide it, never of source text.

So code can move and be renamed. A change that moves numbers raises a NUMBERS_VERSION.
"""

import sys
from inspect import unwrap
from typing import Any

import bdlib.attacks.poisoning
import bdlib.attacks.selection.ranking
import bdlib.data.datasets
import bdlib.data.images
import bdlib.models
import bdlib.training.loop
from bdlib.attacks import SELECTIONS
from bdlib.experiments.config import VictimConfig
from bdlib.runtime import digest, settings_of

NUMBERS_VERSION = 1  # raise it when a change in `experiments.victims` or `experiments.config` changes what is made

_MODULES = (bdlib.data.datasets, bdlib.data.images, bdlib.models, bdlib.training.loop, bdlib.attacks.poisoning)
_OF_SELECTIONS = ("rounds", "round_epochs", "iterations", "iteration_epochs", "keep_ratio")


def victim_key(config: VictimConfig) -> str:
    """Of a victim's weights; changes with every setting that has a part in them."""
    own = {name: value for name, value in settings_of(config).items() if name not in _OF_SELECTIONS}
    selection = None if config.selection == "random" else _selection(config)
    return digest(own, settings_of(config.schedule), _attack(config), selection, _common(config))


def trigger_key(config: VictimConfig) -> str:
    """Of an optimized trigger; the poison rate and the target label have no part in it."""
    return digest(config.seed, _attack(config), _common(config))


def selection_key(config: VictimConfig) -> str:
    """Of the images that a selection found."""
    return digest(_selection(config), _attack(config), _common(config))


def _common(config: VictimConfig) -> list[Any]:
    """What all of these depend on."""
    versions = [NUMBERS_VERSION, *(module.NUMBERS_VERSION for module in _MODULES)]
    return [config.dataset, settings_of(config.facts), settings_of(config.data_fraction), config.model, versions]


def _attack(config: VictimConfig) -> list[Any]:
    """The attack's own settings, with its version, and those of its fixed trigger."""
    own = settings_of(config.attack_object)
    triggers = ("trigger", "gray_trigger")
    own = {name: value for name, value in own.items() if name not in triggers}
    return [config.attack, own, settings_of(config.attack_object.fixed_trigger(config.facts.channels))]


def _selection(config: VictimConfig) -> list[Any]:
    """The selection's settings and its version."""
    function = SELECTIONS[config.selection]
    module = sys.modules[unwrap(getattr(function, "func", function)).__module__]
    versions = [module.NUMBERS_VERSION, bdlib.attacks.selection.ranking.NUMBERS_VERSION]
    keywords = {name: settings_of(value) for name, value in sorted(config.selection_settings.items())}
    return [config.selection, keywords, versions]
