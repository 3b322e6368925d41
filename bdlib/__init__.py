"""Backdoor attacks on image classifiers, the defenses against them, and their honest evaluation.

Example::

    config = VictimConfig(attack="blended")
    train_set, test_set = load_data(config)
    victim = trained_victim(config)
    clean, _ = split(train_set, 0.05, seed=0)
    repaired = DEFENSES["sau"](victim, clean, epochs=50)
    evaluate_victim(config, repaired, test_set)

The names below are those that a user types. The rooms of the library hold the rest.
"""

from importlib import import_module
from typing import Any

PUBLIC = {
    "data.datasets": ("DATASETS", "load_dataset"),
    "data.images": ("ImageSet", "split"),
    "data.own": ("register_dataset",),
    "models": ("MODELS", "predict"),
    "models.own": ("register_model",),
    "training.loop": ("Schedule", "train"),
    "attacks": ("ATTACKS", "SELECTIONS"),
    "attacks.poisoning": ("poison",),
    "defenses": ("DEFENSES",),
    "evaluation.apply_trigger": ("apply_trigger",),
    "evaluation.metrics": ("Scores", "defense_effectiveness", "evaluate"),
    "mechanisms": ("MECHANISMS",),
    "experiments.config": ("VictimConfig",),
    "experiments.published": ("load_victim",),
    "experiments.victims": ("evaluate_victim", "load_data", "load_trigger", "trained_victim"),
    "experiments.studies": ("load_study",),
}
ROOMS = {name: room for room, names in PUBLIC.items() for name in names}
__all__ = sorted(ROOMS)


def __getattr__(name: str) -> Any:
    """A public name, from its room; loaded when it is first asked for, so that `bdlib --help` needs no torch."""
    if name not in ROOMS:
        raise AttributeError(f"module 'bdlib' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"bdlib.{ROOMS[name]}"), name)
