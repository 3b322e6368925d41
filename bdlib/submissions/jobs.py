"""What the stranger's process does with a function: repair or train a network, put a trigger on images, make a network.

Each job has `begin`, which calls the function, and `answer`, which answers one question of the other process.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, channels_last, nn

from bdlib.checks import ParameterError
from bdlib.data.fit import triggered
from bdlib.data.images import ImageSet
from bdlib.data.passes import count_passes
from bdlib.models import MODELS, seeded
from bdlib.runtime import best_device
from bdlib.submissions.job import Answer, Job, Refusal, Told, function_in, image_set, logits_of, require_network
from bdlib.submissions.messages import Message
from bdlib.submissions.network_job import NetworkJob


class DefenseJob:
    """Hand a defense the network, or what makes one, and the images that its arguments ask for."""

    def __init__(self, facts: Told, tensors: dict[str, Tensor], progress: Callable[[str], None]) -> None:
        self.facts, self.sets = facts, {}
        for name in facts["sets"]:
            self.sets[name] = image_set(tensors, name)
        weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        self.model = self._untrained().to(best_device(), memory_format=channels_last)  # type: ignore[call-overload]
        if weights:
            self.model.load_state_dict(weights)
        self.model.eval()

    def _untrained(self) -> nn.Module:
        build, known = MODELS[self.facts["model"]], self.facts
        made = (known["channels"], known["num_classes"], known["mean"], known["std"])
        return seeded(lambda: build(*made), seed=known["seed"])

    def begin(self, module: ModuleType, function: str) -> Told:
        made = {"model": self.model, "make_model": self._untrained, **self.sets}
        before = _copies(made)
        repair, sample = function_in(module, function), next(iter(self.sets.values()))
        start = time.perf_counter()
        with count_passes() as passes:
            result = repair(*(made[name] for name in self.facts["arguments"]), **self.facts["keywords"])
        seconds = time.perf_counter() - start
        self.result = require_network(result, sample, self.facts["num_classes"])
        given = set(self.facts["arguments"])
        written = [name for name, copy in before.items() if name in given and not _equal(copy, made[name])]
        return {"passes": asdict(passes), "seconds": seconds, "written": written, "same": result is self.model}

    def answer(self, question: Message) -> Answer:
        return logits_of(self.result, question.tensors["images"])


def _tensors_of(value: Any) -> dict[str, Tensor]:
    if isinstance(value, ImageSet):
        return {"images": value.images, "labels": value.labels}
    return value.state_dict() if isinstance(value, nn.Module) else {}


def _copies(made: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The tensors of networks and sets as they are before somebody gets them."""
    return {name: {key: tensor.clone() for key, tensor in _tensors_of(value).items()} for name, value in made.items()}


def _equal(copy: dict[str, Tensor], value: Any) -> bool:
    now = _tensors_of(value)
    return copy.keys() == now.keys() and all(torch.equal(tensor, now[key]) for key, tensor in copy.items())


class AttackJob:
    """Put the trigger of an attack on the images that are sent."""

    def __init__(self, facts: Told, tensors: dict[str, Tensor], progress: Callable[[str], None]) -> None:
        self.channels = facts["channels"]

    def begin(self, module: ModuleType, function: str) -> Told:
        from bdlib.attacks.attack import Attack

        found = getattr(module, function, None)
        if not isinstance(found, Attack):
            self.trigger = function_in(module, function)
            return {"clean_label": False, "cover_ratio": 0.0}
        if type(found) is not Attack or (trigger := found.fixed_trigger(self.channels)) is None:
            raise Refusal("has no fixed trigger: it needs a checkout, see `bdlib new attack`")
        self.trigger = trigger
        return {"clean_label": found.clean_label, "cover_ratio": found.cover_ratio}

    def answer(self, question: Message) -> Answer:
        try:
            images = triggered(question.tensors["images"], self.trigger, name="trigger")
        except ParameterError as error:
            raise error.__cause__ or Refusal(str(error)) from None
        return {"is": "answer"}, {"answer": images.detach().float().cpu()}


JOBS: dict[str, Callable[[Told, dict[str, Tensor], Callable[[str], None]], Job]] = {
    "defense": DefenseJob,
    "attack": AttackJob,
    "network": NetworkJob,
}
