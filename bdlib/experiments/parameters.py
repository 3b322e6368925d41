"""The notebooks' parameters: what each may be, checked before any compute, in one line that names the culprit.

Papermill itself only warns when it is given a parameter that a notebook does not have, and runs on with the default.
"""

import ast
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from bdlib.attacks import ATTACKS, SELECTIONS
from bdlib.data.datasets import DATASETS
from bdlib.defenses import DEFENSES
from bdlib.models import MODELS

CLEAN_LABEL = [key for key, attack in ATTACKS.items() if attack.clean_label]
TRAINING_CONTROLLED = [key for key, attack in ATTACKS.items() if attack.training_controlled]
Rule = tuple[str, Callable[[Any], bool]]  # what is allowed, in words, and the test of it


class ParameterError(ValueError):
    """A notebook was given a parameter that it does not have, or a value that cannot be."""

    def _render_traceback_(self) -> list[str]:
        """One line is all that a notebook shows of it."""
        return [f"ParameterError: {self}"]


def one_of(*choices: str) -> Rule:
    return f"one of {', '.join(choices)}", lambda value: value in choices


def whole(low: int, high: int) -> Rule:
    def test(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return f"a whole number from {low} to {high}", test


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(low: float, high: float, *, above: bool = False) -> Rule:
    """A number from `low` (or, `above` it) to `high`."""
    words = f"a number above {low:g}, at most {high:g}" if above else f"a number from {low:g} to {high:g}"
    return words, lambda value: is_number(value) and low <= value <= high and not (above and value == low)


RULES: dict[str, Rule] = {
    "profile": one_of("quick", "paper"),
    "dataset": one_of(*DATASETS),
    "data_fraction": number(0.01, 1),
    "model": one_of(*MODELS),
    "attack": one_of(*ATTACKS),
    "target_label": whole(0, 199),
    "poison_rate": number(0, 0.5, above=True),
    "victim_epochs": whole(1, 1000),
    "victim_batch_size": whole(2, 4096),
    "clean_fraction": number(0, 0.5, above=True),
    "label_map": one_of("all_to_one", "all_to_all"),
    "selection": one_of(*SELECTIONS),
    "rounds": whole(0, 1000),
    "round_epochs": whole(1, 1000),
    "iterations": whole(0, 1000),
    "iteration_epochs": whole(1, 1000),
    "keep_ratio": number(0, 1),
    "cover_samples": ("True or False", lambda value: isinstance(value, bool)),
    "defense": one_of("none", *DEFENSES),
    "variant": one_of("paper", "released"),
    "layers": ("a list of layer names", lambda v: isinstance(v, (list, tuple)) and len(v) > 0
               and all(isinstance(name, str) for name in v)),
    "layer": ("the name of a layer", lambda value: isinstance(value, str)),
    "loss_weights": ("four numbers from 0 to 100", lambda v: isinstance(v, (list, tuple)) and len(v) == 4
                     and all(is_number(x) and 0 <= x <= 100 for x in v)),
    "radius": number(0, 100),
    "step_size": number(0, 1, above=True),
    "inner_steps": whole(1, 1000),
    "warm_up_epochs": whole(0, 1000),
    "beta": ("a list of numbers from 0 to 1e6", lambda v: isinstance(v, (list, tuple))
             and all(is_number(x) and 0 <= x <= 1e6 for x in v)),
    "power": number(1, 8),
    "readout": ("a layer's name", lambda value: isinstance(value, str)),
    "allowed_drop": number(0, 1),
    "perturbation": number(0, 1),
    "trade_off": number(0, 1),
    "mask_threshold": ("a number from 0 to 1, or None", lambda v: v is None or number(0, 1)[1](v)),
    "mask_epochs": whole(1, 1000),
    "mask_learning_rate": number(0, 10, above=True),
    "alpha": number(0, 1000),
    "regularizer": one_of("adaptive", "l1", "l2"),
    "select": one_of("bottom", "top", "bottom_abs"),
    "initial_share": number(0, 1),
    "decay": number(0, 1),
    "momentum": number(0, 0.999),
    "epochs": whole(0, 1000),
    "teacher_epochs": whole(1, 1000),
    "student_epochs": whole(1, 1000),
    "milestone": whole(0, 1000),
    "learning_rate": number(0, 10, above=True),
    "batch_size": whole(2, 4096),
    "rho": number(0, 100),
    "adaptive": ("True or False", lambda value: isinstance(value, bool)),
    "label_smoothing": number(0, 0.5),
    "lambda_2": number(0, 1000),
    "lambda_3": number(0, 1000),
    "beta_1": number(0, 1000),
    "beta_2": number(0, 1000),
    "epsilon": number(0, 1),
    "defensive_trigger": one_of("none", "frame", "corner"),
    "defensive_trigger_size": whole(1, 64),
    "defensive_trigger_value": number(0, 255),
    "defensive_trigger_moves": ("True or False", lambda value: isinstance(value, bool)),
    "label_shift": whole(0, 199),
    "sampling_frequency": whole(0, 100),
    "anneal": one_of("constant", "cosine", "one_cycle"),
    "train_mode": ("True or False", lambda value: isinstance(value, bool)),
    "stop_accuracy": number(0, 1),
    "unlearning_rate": number(0, 10, above=True),
    "unlearning_epochs": whole(0, 1000),
    "recovery_rate": number(0, 10, above=True),
    "recovery_epochs": whole(0, 1000),
    "neuron_ratio": number(0, 1),
    "weight_ratio": number(0, 1),
    "gamma": number(0, 100),
    "threshold_rule": one_of("lga", "flooding", "none"),
    "isolation": one_of("loss", "random"),
    "isolation_rate": number(0, 0.5, above=True),
    "isolation_epochs": whole(1, 1000),
    "unlearning_batch_size": whole(2, 4096),
    "seed": whole(0, 2**31 - 1),
    "record": ("a file name, or an empty string", lambda value: isinstance(value, str)),
}  # fmt: skip


def check(namespace: dict[str, Any], names: str | Sequence[str]) -> dict[str, Any]:
    """The parameters called `names` (a list, or words in one string) out of a notebook's `globals()`, checked.

    Inside a notebook run by papermill, what papermill injected must be among `names`. Raises ParameterError.
    """
    declared = names.split() if isinstance(names, str) else list(names)
    misspelt = [name for name in injected_names(namespace.get("In", [])) if name not in declared]
    if misspelt:
        raise ParameterError(f"{misspelt[0]}: no such parameter; this notebook has {', '.join(declared)}")
    missing = [name for name in declared if name not in namespace]
    if missing:
        raise ParameterError(f"{missing[0]}: missing from the parameters cell")
    return validated({name: namespace[name] for name in declared})


def validated(parameters: dict[str, Any]) -> dict[str, Any]:
    """The same parameters, when each is allowed and they agree with each other. Raises ParameterError."""
    for name, value in parameters.items():
        if name not in RULES:
            raise ParameterError(f"{name}: no such parameter; known are {', '.join(RULES)}")
        allowed, fits = RULES[name]
        if not fits(value):
            raise ParameterError(f"{name}={value!r}: must be {allowed}")
    check_target(parameters)
    check_size(parameters)
    check_layers(parameters)
    check_label_map(parameters)
    check_key(parameters)
    check_selection(parameters)
    return parameters


def check_target(parameters: dict[str, Any]) -> None:
    if {"dataset", "target_label"} <= parameters.keys():
        last, target = DATASETS[parameters["dataset"]].num_classes - 1, parameters["target_label"]
        if target > last:
            raise ParameterError(f"target_label={target}: must be from 0 to {last} for {parameters['dataset']}")


def check_size(parameters: dict[str, Any]) -> None:
    """VGG-19 halves its maps five times: smaller images than it was made for leave nothing of them."""
    if parameters.get("model") == "vgg19_bn" and DATASETS[parameters["dataset"]].size < 32:
        size = DATASETS[parameters["dataset"]].size
        raise ParameterError(
            f"model='vgg19_bn': must have images of 32 pixels or more, {parameters['dataset']} has {size}"
        )


def check_label_map(parameters: dict[str, Any]) -> None:
    """All-to-all has no single target: what leaves labels alone, or chooses images for one target, cannot have it."""
    if parameters.get("label_map") == "all_to_all":
        if parameters["attack"] in CLEAN_LABEL:
            raise ParameterError(f"label_map='all_to_all': attack {parameters['attack']} changes no labels")
        if parameters.get("selection", "random") != "random":
            raise ParameterError("label_map='all_to_all': must be all_to_one where selection is not random")


def check_key(parameters: dict[str, Any]) -> None:
    """A key must leave something of the image."""
    if {"defensive_trigger", "defensive_trigger_size", "dataset"} <= parameters.keys():
        last = DATASETS[parameters["dataset"]].size - 1
        last = {"frame": last // 2, "corner": last, "none": 64}[parameters["defensive_trigger"]]
        if parameters["defensive_trigger_size"] > last:
            raise ParameterError(
                f"defensive_trigger_size={parameters['defensive_trigger_size']}: must be at most {last}, else the image is gone"
            )


def check_selection(parameters: dict[str, Any]) -> None:
    """Images can be selected only by who poisons a set once, and changes labels; only steering has cover_samples."""
    attack, selection = parameters.get("attack"), parameters.get("selection", "random")
    if selection != "random" and (attack in CLEAN_LABEL or attack in TRAINING_CONTROLLED):
        why = "changes no labels" if attack in CLEAN_LABEL else "triggers other images in every batch"
        raise ParameterError(f"selection={selection!r}: must be random for {attack}, which {why}")
    if not parameters.get("cover_samples", True) and attack not in TRAINING_CONTROLLED:
        raise ParameterError(f"cover_samples=False: must be True for {attack}, which has none to leave out")


def check_layers(parameters: dict[str, Any]) -> None:
    """Every layer that a parameter names must exist in the model, and have its own weight; a readout is linear."""
    named = [(key, name) for key in ("layers", "layer", "readout") for name in listed(parameters.get(key, []))]
    if not named:
        return
    model = parameters["model"]
    known = layers_of(model, parameters["dataset"])
    for key, layer in named:
        if layer not in known:
            raise ParameterError(f"{key}={layer!r}: must be layers of {model}, such as {', '.join(stages_of(known))}")
        if key == "readout" and known[layer] != "Linear":
            linear = [name for name, kind in known.items() if kind == "Linear"]
            raise ParameterError(f"readout={layer!r}: must be a linear layer of {model}: {', '.join(linear)}")
    if "beta" in parameters and len(parameters["beta"]) != len(parameters["layers"]):
        count = len(parameters["layers"])
        raise ParameterError(f"beta={parameters['beta']!r}: must have {count} numbers, one for each of layers")


def listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


@functools.lru_cache
def layers_of(model: str, dataset: str) -> dict[str, str]:
    """Every layer of a network and what kind it is; built once, since a study asks for each of its runs."""
    facts = DATASETS[dataset]
    with torch.device("meta"):
        network = MODELS[model](facts.channels, facts.num_classes, facts.mean, facts.std)
    return {name: type(module).__name__ for name, module in network.named_modules() if name}


def stages_of(layers: Iterable[str]) -> list[str]:
    return [name for name in layers if "." not in name]


def injected_names(history: Sequence[str]) -> list[str]:
    """The names that papermill's own cell assigns, out of the kernel's input history."""
    cells = [cell for cell in history if cell.startswith("# Parameters\n")]
    return [name for cell in cells for name in assigned_names(cell)]


def assigned_names(source: str) -> list[str]:
    """The names assigned at the top level of some code."""
    statements = [node for node in ast.parse(source).body if isinstance(node, (ast.Assign, ast.AnnAssign))]
    targets = [t for node in statements for t in (node.targets if isinstance(node, ast.Assign) else [node.target])]
    return [target.id for target in targets if isinstance(target, ast.Name)]
