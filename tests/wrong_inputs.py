"""Wrong arguments for every public function and class, computed from the registries and the annotations.

`python tests/wrong_inputs.py` counts what becomes of them: refused in one line, an error of another kind, or accepted.
"""

import inspect
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn
from toy_task import STATISTICS, toy  # says first that bdlib takes one thread

from bdlib.attacks import ATTACKS, SELECTIONS
from bdlib.attacks.badnets import BadNets
from bdlib.attacks.bpp import BPP
from bdlib.attacks.poisoning import Poisoned, poison
from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet, batches, sample, split
from bdlib.defenses import DEFENSES
from bdlib.defenses.detectors import DETECTORS
from bdlib.defenses.npd.polarizer import insert
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.evaluation import apply_trigger, detection, image_quality, intervals, metrics
from bdlib.experiments.config import VictimConfig
from bdlib.mechanisms import MECHANISMS
from bdlib.models import MODELS, predict, sample_losses, seeded, small_resnet
from bdlib.training.loop import Schedule, steps, train
from bdlib.types import EventLog

CLASSES = ("first", "second", "third", "fourth")  # of the toy task
NAN, INF = float("nan"), float("inf")


def network(channels: int = 3, classes: int = 4) -> nn.Module:
    statistics = [(0.5,) * channels, (0.25,) * channels]
    return seeded(lambda: small_resnet(channels, classes, *statistics, width=4), seed=0).eval()


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """Everything that a user calls, by name; new defenses, attacks, selections, mechanisms and networks come along."""
    found: dict[str, Callable[..., Any]] = {}
    for room, registry in (("defenses", DEFENSES), ("detectors", DETECTORS), ("mechanisms", MECHANISMS),
                           ("selections", SELECTIONS), ("models", MODELS)):  # fmt: skip
        found |= {f"{room}.{key}": function for key, function in registry.items()}
    for key, attack in ATTACKS.items():
        found |= {f"attacks.{key}.{name}": getattr(attack, name) for name in ("fit", "poison", "train_victim")}
        found |= {f"attacks.{key}": type(attack)}
        if attack.trigger is not None and inspect.signature(type(attack.trigger)).parameters:
            found[f"attacks.{key}.trigger"] = type(attack.trigger)
    others = [ImageSet, split, sample, batches, predict, sample_losses, Schedule, steps, train, poison, VictimConfig,
              apply_trigger.apply_trigger, apply_trigger.attacked_set, apply_trigger.triggered_set,
              apply_trigger.AllToOne, apply_trigger.AllToAll, metrics.Scores, metrics.evaluate,
              metrics.evaluate_attack, metrics.defense_effectiveness, metrics.robustness_improvement,
              metrics.broken_premises, detection.auroc, detection.found_at,
              detection.rates, detection.rate_after,
              image_quality.psnr, image_quality.ssim, image_quality.spectrum,
              intervals.seed_interval, intervals.joint_level, intervals.paired_p_value]  # fmt: skip
    found |= {function.__name__: function for function in others}
    once = {getattr(f, "__func__", getattr(f, "func", f)): name for name, f in reversed(found.items())}
    return {name: function for name, function in found.items() if name in once.values()}  # most attacks share methods


@cache
def right(name: str) -> dict[str, Any]:
    """A right value for every argument that may be there, by name; small, so that what is accepted ends soon."""
    data, scores = toy(24, seed=0), metrics.Scores(0.9, 1.0, 0.0, 0.9)
    images = data.images.float() / 255
    values: dict[str, Any] = {
        "model": network(), "defended": network(), "make_model": network, "clean": data, "test": data, "train": data,
        "poisoned": data, "data": data, "trigger": BadNets(), "relabel": apply_trigger.AllToOne(0), "target_label": 0,
        "truth": Poisoned(data, data.labels == 1), "events": EventLog(), "schedule": Schedule(1, 0.01, batch_size=8),
        "selected": {"ids": torch.arange(3)}, "poison_rate": 0.2, "seed": 0, "fraction": 0.5, "count": 8, "size": 8,
        "pixels": data.images, "queries": data.images, "suspicion": torch.rand(24), "flagged": data.labels == 1,
        "is_poisoned": data.labels == 1, "tpr": 0.5, "fpr": 0.1, "overlays": 3,
        "before": scores, "after": scores, "changed": images, "residual": images,
        "values": [0.1, 0.2, 0.3], "differences": [0.1, 0.2, 0.3], "intervals": 4, "epochs": 1, "learning_rate": 0.01,
        "channels": 3, "num_classes": 4,
        "mean": STATISTICS[0], "std": STATISTICS[1], "beta": (1.0,) * 3, "NUMBERS_VERSION": 1, "augmentation": None,
        "layers": ["layer3"], "images": data.images if name == "ImageSet" else images, "labels": data.labels,
        "selection": "random", "clean_accuracy": 0.9, "asr": 0.9, "robust_accuracy": 0.1, "clean_accuracy_others": 0.9,
        "class_names": CLASSES, "answerer": OracleAnswerer(data, CLASSES, error=0.0, seed=0),
        "answered_by": "oracle", "answer_error": 0.1, "noise_rate": 0.2, "looked_at": 20,
        "twin": network(), "layer": "layer3", "cells": 2, "orders": 1,
        "isolation_rate": 0.2, "stop_accuracy": 0.9, "rounds": 1, "round_epochs": 1, "iterations": 1, "batch_size": 8,
    }  # fmt: skip
    if "label_consistent" in name or "wanet" in name or "bpp" in name or "input_aware" in name:
        attack = ATTACKS[name.split(".")[1]]
        values["trigger"] = attack.trigger if "input_aware" not in name else BPP()
        if "label_consistent" in name:
            values["trigger"] = attack.blank((3, 16, 16), network)
    if name == "defenses.nad":
        values["layers"] = ["layer1", "layer2", "layer3"]
    if name == "mechanisms.workshop":
        values["looked_at"] = 40
    if name == "mechanisms.npd":
        values["defended"] = insert(network(), data, layer="layer3.0.conv1")
    return values


class Changed(nn.Module):
    """A network whose answers are changed by a function."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.change = network(), change

    def forward(self, images: torch.Tensor) -> Any:
        return self.change(self.inner(images))


def broken() -> nn.Module:
    """A network with a weight that is no number, as after training at too large a rate."""
    model = network()
    model.head.bias.data[0] = NAN
    return model


# What no function may take, by the kind of the argument. A trigger, a relabeling and a factory are functions.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "of one channel": lambda: network(1),
    "of fewer classes than the labels": lambda: network(classes=3),
    "of one class": lambda: Changed(lambda logits: logits[:, :1]),
    "in bfloat16": lambda: network().bfloat16(),
    "with logits in bfloat16": lambda: Changed(lambda logits: logits.bfloat16()),
    "with whole numbers": lambda: Changed(lambda logits: logits.argmax(1)),
    "with more than logits": lambda: Changed(lambda logits: (logits, logits)),
    "with logits as maps": lambda: Changed(lambda logits: logits[:, :, None, None]),
    "with nothing": lambda: Changed(lambda logits: None),
    "with an error": lambda: Changed(lambda logits: logits.nonsense),
    "with nan": broken,
    "on another device": lambda: network().to("meta"),
}
SETS: dict[str, Callable[[], Any]] = {
    "without images": lambda: toy(4, 0)[:0],
    "of one channel": lambda: ImageSet(toy(24, 0).images[:, :1], toy(24, 0).labels),
    "with a label too many": lambda: ImageSet(toy(24, 0).images, toy(24, 0).labels + 2),
}
TRIGGERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "that returns nothing": lambda images: None,
    "for one image": lambda images: images[0],
    "that drops a channel": lambda images: images[:, :1],
    "of bytes": lambda images: (images * 255).byte(),
    "of numbers to 255": lambda images: images * 255,
    "with nan": lambda images: images * NAN,
    "with an array": lambda images: images.numpy(),
}
RELABELINGS: dict[str, Callable[[torch.Tensor], Any]] = {
    "that returns nothing": lambda labels: None,
    "to one number": lambda labels: 0,
    "of floats": lambda labels: labels.float(),
    "of negative labels": lambda labels: labels - 9,
    "of another number of classes": apply_trigger.AllToAll(2),
    "to a class that is not there": apply_trigger.AllToOne(9),
    "of fewer labels": lambda labels: labels[:-1],
}
FACTORIES: dict[str, Callable[[], Any]] = {
    "that makes nothing": lambda: None,
    "of a network that does not fit": lambda: network(1),
    "with an argument": lambda channels: network(channels),  # type: ignore[dict-item]
}
KINDS = {"make_model": FACTORIES, "trigger": TRIGGERS, "relabel": RELABELINGS}


def misfits(name: str) -> list[tuple[str, str, Any]]:
    """The name of each argument with what it must not be beside the others: its kind, in words, and the value."""
    function = functions()[name]
    target = function.__init__ if inspect.isclass(function) else getattr(function, "func", function)
    hints, found = get_type_hints(target, include_extras=True), list[tuple[str, str, Any]]()
    known = inspect.signature(function).parameters
    bare = {p: get_args(hints[p])[0] if get_origin(hints[p]) is Annotated else hints[p] for p in known if p in hints}
    has_network = any(hint is nn.Module for hint in bare.values())
    for parameter, hint in bare.items():
        if hint is nn.Module and ImageSet in bare.values():
            found += [(parameter, words, make()) for words, make in NETWORKS.items()]
        if hint is ImageSet:
            found += [(parameter, words, make()) for words, make in SETS.items() if has_network or "images" in words]
        if not inspect.isclass(function):
            found += [(parameter, words, value) for words, value in KINDS.get(parameter, {}).items()]
    if "target_label" in known and ImageSet in bare.values():
        found.append(("target_label", "that no image and no network has", 9))
    return found


def call(function: Callable[..., Any], name: str, wrong: dict[str, Any]) -> Any:
    """`function` with right arguments but for the `wrong` ones; of an iterator the first item."""
    known, given = {} if name == "VictimConfig" else right(name), {}
    for parameter in inspect.signature(function).parameters.values():
        short = name != "VictimConfig" and any(word in parameter.name for word in ("epochs", "steps", "iterations"))
        given[parameter.name] = known.get(parameter.name, 1 if short else parameter.default)
    result = function(**given | wrong)
    return next(result) if isinstance(result, Iterator) else result


def wrong_values(hint: Any) -> list[Any]:
    """Values that no argument with this annotation may have."""
    bounds: list[Any] = []
    while get_origin(hint) is Annotated:
        for mark in get_args(hint)[1:]:
            bounds += getattr(mark, "metadata", [mark])
        hint = get_args(hint)[0]
    origin, odd = get_origin(hint), object()
    if origin in (Union, UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        return [value for part in parts for value in wrong_values(part) if value is not None]
    if hint in (int, float):
        high = [b for mark in bounds for b in (getattr(mark, "le", None), getattr(mark, "lt", None)) if b is not None]
        fractional = [2.5] if hint is int else []
        return [None, "1", [1], odd, True, NAN, INF, -INF, -1, *fractional, *[limit + 1 for limit in high]]
    if hint is str:
        return [None, 3, ["layer1"], odd, "no such name"]
    if hint is bool:
        return [None, 1, "yes", odd]
    if origin is Literal:
        return [None, 3, odd, str(get_args(hint)[0])[:-1], str(get_args(hint)[0]).upper()]
    if origin in (Sequence, list, tuple):
        return [None, 3, "layer1", {"a": 1}, [odd], odd]
    if origin is Callable:
        return [None, 3, "f", [print], odd]
    if origin is dict or not isinstance(hint, type):
        return [None, 3, "x", odd]
    if hint is nn.Module or issubclass(hint, nn.Module):
        return [None, 3, "model", [network()], nn.ReLU, network, toy(4, 0), odd]
    if hint is ImageSet:
        data = toy(4, 0)
        return [None, 3, (data.images, data.labels), data.images, [data], network(), data[:0], odd]
    return [None, 3, "x", [1.0], odd]


def cases(name: str) -> list[tuple[str, Any]]:
    """The name of each argument of a function with each of its wrong values."""
    function = functions()[name]
    target = function.__init__ if inspect.isclass(function) else getattr(function, "func", function)
    hints = get_type_hints(target, include_extras=True)
    known = [p for p in inspect.signature(function).parameters if p in hints and p not in ("return", "on_event")]
    optional = {"ids", "loss_fn", "optimizer", "generator", "compiled"}
    return [(p, value) for p in known if p not in optional for value in wrong_values(hints[p])]


def outcome(name: str, wrong: dict[str, Any], seconds: float = 0) -> str:
    """refused (one line that names an argument), obscure (another error), or accepted, also after so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        call(functions()[name], name, wrong)
    except ParameterError as error:
        named = any(parameter in str(error) for parameter in wrong)
        return "refused" if named and "\n" not in str(error) and len(str(error)) < 700 else f"obscure: {error}"
    except TimeoutError:
        return "accepted"
    except Exception as error:
        return f"obscure: {type(error).__name__}: {str(error)[:90]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "accepted"


def main(words: list[str]) -> None:
    """Print the count of each outcome, and with a word on the command line what was not refused there."""
    counts: Counter[str] = Counter()
    for name in functions():
        wrong = [(p, " ".join(repr(value).split())[:40], value) for p, value in cases(name)] + misfits(name)
        for parameter, shown, value in wrong:
            what = outcome(name, {parameter: value}, seconds=3)
            counts[what.split(":")[0]] += 1
            if what != "refused" and any(word in name for word in words):
                print(name, parameter, shown, "->", what, flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main(sys.argv[1:])
