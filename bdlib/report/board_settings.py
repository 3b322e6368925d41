"""What a run is on the board: its victim, its defence, and how its settings differ from the headline's."""

from dataclasses import fields
from functools import cache
from typing import Any

from bdlib.attacks import ATTACKS
from bdlib.checks import keywords
from bdlib.data.datasets import DATASETS
from bdlib.defenses import DEFENSES
from bdlib.experiments import notebooks
from bdlib.experiments.board_plan import page_of
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.parameters import added_later
from bdlib.experiments.records import Record
from bdlib.experiments.versions import defense_of

BALANCED = ("fashion", "cifar10", "cifar100", "tiny_imagenet")  # all classes have as many training images
KEYS = ("profile", "dataset", "network", "attack", "poison_rate", "defense", "setting")  # what makes a row
NO_SETTING = ("augmentation", "seed")  # keywords of defences that come with the data and with the seed
ANSWERS = ("answered_by", "answer_error")  # of VDC, which takes an answerer in their place
COLUMNS = ("dataset", "model", "attack", "poison_rate", "seed")  # of a victim, each with a column of its own


def keys_of(record: Record, profile: str) -> tuple[Any, ...]:
    """The values of `KEYS` of the row to which a record belongs; the setting is "" at the headline's.

    Example: `keys_of(record, "quick")` is ("quick", "fashion", "small_resnet", "badnets", 0.1, "nad", "").
    """
    *about, victim_setting = victim_keys(record, profile)
    parameters = _added(record.paper) | record.parameters
    defense = defense_of(record.paper, parameters)
    setting = [victim_setting, _differences(parameters, _usual_defense(defense, profile))]
    return (*about, defense, ", ".join(filter(None, setting)))


def victim_keys(record: Record, profile: str) -> tuple[Any, ...]:
    """The values of `KEYS` of a record's victim, without the defence: the last one is the victim's setting."""
    parameters = _added(record.paper) | record.parameters
    about = (parameters["dataset"], parameters["model"], parameters["attack"], share_of_images(parameters))
    return (profile, *about, _differences(parameters, _usual_victim(profile)))


def share_of_images(parameters: dict[str, Any]) -> float | None:
    """The poison rate as a share of all training images, as benchmarks count it; 0 without an attack.

    Attacks that change no label count in images of the target class. None where classes are not equally large.

    Example: `share_of_images({"attack": "sig", "dataset": "cifar10", "poison_rate": 0.5})` is 0.05.
    """
    attack, dataset = ATTACKS[parameters["attack"]], parameters["dataset"]
    if not attack.poisons:
        return 0.0
    if not attack.clean_label:
        return float(parameters["poison_rate"])
    return round(parameters["poison_rate"] / DATASETS[dataset].num_classes, 9) if dataset in BALANCED else None


@cache
def _added(paper: str) -> dict[str, Any]:
    return added_later(paper)


@cache
def _usual_victim(profile: str) -> dict[str, Any]:
    """The settings of the victims that a profile's chapters share, but for those that have a column of their own."""
    usual = VictimConfig.from_parameters(notebooks.parameters("comparison", profile))
    return {field.name: getattr(usual, field.name) for field in fields(usual) if field.name not in COLUMNS}


@cache
def _usual_defense(defense: str, profile: str) -> dict[str, Any]:
    """The headline settings of a defence: those of its chapter at a profile, and none of its victim's."""
    if defense == "none":
        return {}
    usual = notebooks.parameters(page_of(defense), profile)
    names = [name for name in (*keywords(DEFENSES[defense]), "clean_fraction", *ANSWERS) if name not in NO_SETTING]
    return {name: usual[name] for name in names if name in usual}


def _differences(parameters: dict[str, Any], usual: dict[str, Any]) -> str:
    """The settings that are not as usual, in the order of `usual`, such as "epochs=40, milestone=8"."""
    changed = {n: parameters[n] for n, v in usual.items() if n in parameters and _plain(parameters[n]) != _plain(v)}
    return ", ".join(f"{name}={_text(value)}" for name, value in changed.items())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
