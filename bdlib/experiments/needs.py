"""What the network and the sets of a run must be for its defense; known from shapes and counts, before any training."""

import functools
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import nn

from bdlib.checks import ParameterError, check_needs
from bdlib.data.datasets import DATASETS, DatasetFacts
from bdlib.data.images import ImageSet
from bdlib.models import MODELS, find_layer
from bdlib.models.own import OwnNetwork

_PASSED: set[str] = set()  # what `check_defense` has found to be right


def check_layers(parameters: Mapping[str, Any]) -> None:
    """Raise ParameterError unless every named layer is in the network, a readout is linear, and betas match layers."""
    network = _network(parameters["model"], parameters["dataset"])
    for key in ("layers", "layer", "readout"):
        named = parameters.get(key) or []
        for layer in [named] if isinstance(named, str) else named:
            module = find_layer(network, layer, parameter=key)
            if key == "readout" and not isinstance(module, nn.Linear):
                linear = ", ".join(name for name, part in network.named_modules() if isinstance(part, nn.Linear))
                raise ParameterError(f"readout={layer!r}: must be a linear layer of {parameters['model']}: {linear}")
    if "beta" in parameters and len(parameters["beta"]) != (count := len(parameters["layers"])):
        raise ParameterError(f"beta={parameters['beta']!r}: must have {count} numbers, one for each of layers")


def _network(model: str, dataset: str) -> nn.Module:
    """The network without weights. A built-in one is built once, since a study asks for it in each of its runs.

    An own one is built anew, since what its factory reads may change.
    """
    build = MODELS[model]
    make = _build if isinstance(build, OwnNetwork) else _built
    return make(build, DATASETS[dataset])


def _build(build: Callable[..., nn.Module], facts: DatasetFacts) -> nn.Module:
    with torch.device("meta"):
        return build(facts.channels, facts.num_classes, facts.mean, facts.std)


_built = functools.lru_cache(_build)


def check_defense(defense: Callable[..., Any], own: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raise ParameterError unless the network and the sets of a run are what its defense needs (`bdlib.checks.needs`).

    `own` are the defense's keyword arguments, out of the `parameters` of the run.

    Neither is there yet: shapes and counts alone decide, on torch's meta device, which holds no numbers.
    """
    facts, reserved = DATASETS[parameters["dataset"]], parameters.get("clean_fraction", 0)
    network = _network(parameters["model"], parameters["dataset"])
    images = round(facts.counts[0] * parameters.get("data_fraction", 1))
    clean = max(1, round(images * reserved))
    poisoned = images - clean if "clean" in signature(defense).parameters else images
    key = repr(
        [defense, MODELS[parameters["model"]], facts, clean, poisoned, {k: v for k, v in own.items() if k != "seed"}]
    )
    if key in _PASSED and not isinstance(MODELS[parameters["model"]], OwnNetwork):  # a study asks for each of its runs
        return
    sets = {"clean": _blank_set(facts, clean), "poisoned": _blank_set(facts, poisoned)}
    check_needs(defense, {"model": network, "make_model": lambda: network, **sets, **own})
    _PASSED.add(key)


def _blank_set(facts: DatasetFacts, count: int) -> ImageSet:
    """As many images without pixels or labels."""
    with torch.device("meta"):
        pixels = torch.zeros(count, facts.channels, facts.size, facts.size, dtype=torch.uint8)
        return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))
