"""The victims of the zoo as a user asks for them, and how one gets there.

Example::

    model, trigger, target_label = load_victim("cifar10", "badnets", seed=0)
"""

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.evaluation.metrics import evaluate_attack
from bdlib.experiments import victims, zoo
from bdlib.experiments.checkpoints import tensors_of
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.sources import fact_of
from bdlib.runtime import runtime_facts
from bdlib.types import Trigger


class Victim(NamedTuple):
    """A victim of the zoo, ready to be defended."""

    model: nn.Module  # in evaluation mode, on the device that trains
    trigger: Trigger  # puts the attack's trigger on images in [0, 1]
    target_label: int


@checked
def load_victim(dataset: str, attack: str, *, seed: ranges.Seed = 0, model: str | None = None) -> Victim:
    """A published victim: its network, its trigger and the label that the attacker wants. It reads no images.

    Without a `model` it is the network that zoo/victims.yaml names first for the attack. The file is verified by its
    SHA-256. Raises ParameterError, which lists what there is, for a victim that the zoo has not, and FileError for a
    damaged file.

    Example: ``model, trigger, target_label = load_victim("cifar10", "blended")``
    """
    config = find(dataset, attack, seed=seed, model=model)
    network, trigger = victims.trained_victim(config), victims.load_trigger(config)
    return Victim(network, trigger, config.target_label)


def find(dataset: str, attack: str, *, seed: int = 0, model: str | None = None) -> VictimConfig:
    """The settings of the published victim of an attack on a data set.

    Without a `model` it is the network that zoo/victims.yaml names first. Raises ParameterError, which lists what there
    is, for a victim that is not published.
    """
    there = [config for config in zoo.planned() if zoo.zoo_path(config).name in zoo.manifest()]
    for config in there:
        if (config.dataset, config.attack, config.seed) == (dataset, attack, seed) and model in (None, config.model):
            return config
    asked: dict[str, Any] = {"dataset": dataset, "attack": attack, "seed": seed} | ({"model": model} if model else {})
    for name, value in asked.items():
        known = list(dict.fromkeys(getattr(config, name) for config in there))
        if value not in known:
            raise ParameterError(f"{name}={value!r}: the zoo has {', '.join(map(str, known)) or 'no victim'}")
    have = ", ".join(f"{one.attack} seed {one.seed} ({one.model})" for one in there if one.dataset == dataset)
    raise ParameterError(f"attack={attack!r}, seed={seed}: the zoo has, of {dataset}, {have}")


def publish(config: VictimConfig, *, progress: bool = False) -> Path:
    """Put a victim that the zoo plans, and the trigger that was made for it, into the zoo, unless it is there.

    It is trained first if it is not in the cache; `progress` prints a line an epoch. Returns its file in the zoo.
    """
    if (path := zoo.published_path(config)) is not None:
        return path
    model, trigger = victims.trained_victim(config, progress=progress), victims.load_trigger(config)
    learned = trigger if isinstance(trigger, nn.Module) else None
    for module in filter(None, (model, learned)):
        zoo.round_to_half(module)
    scores = evaluate_attack(model, victims.load_data(config)[1], trigger, config.relabel)
    cached = victims.victim_path(config)
    facts = {name: fact_of(cached, name) or fact for name, fact in runtime_facts().items()}
    return zoo.publish(config, tensors_of(model, learned), scores, facts)
