"""What the stranger's process does with a function: repair or train a network, put a trigger on images, make a network.

Each job has `begin`, which calls the function, and `answer`, which answers one question of the other process.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, channels_last, nn

from bdlib.checks import ParameterError
from bdlib.data.fit import evaluation_mode, probe, require_rows, triggered
from bdlib.data.images import ImageSet, batches
from bdlib.data.passes import count_passes
from bdlib.models import MODELS, seeded
from bdlib.runtime import best_device
from bdlib.submissions.messages import Message
from bdlib.words import shown

Told = dict[str, Any]
Answer = tuple[Told, dict[str, Tensor]]
BATCH = 500  # images of one forward pass


class Refusal(Exception):
    """What a function returned, or how it is made, is not what it must be; the words follow its name."""


class Job(Protocol):
    """One of `JOBS`, made from the facts and the tensors of its message; `progress` is told a line now and then."""

    def begin(self, module: ModuleType, function: str) -> Told: ...
    def answer(self, question: Message) -> Answer: ...


def image_set(tensors: Mapping[str, Tensor], name: str) -> ImageSet:
    """The set of images that a message holds under a name, on the device that trains."""
    return ImageSet(tensors[f"{name}.images"], tensors[f"{name}.labels"]).to(best_device())


def function_in(module: ModuleType, name: str) -> Callable[..., Any]:
    """The function, as the module has it now. Raises Refusal where there is none."""
    if not callable(found := getattr(module, name, None)):
        raise Refusal(f"is {shown(found)}, not a function")
    return found


def require_network(result: Any, sample: ImageSet, classes: int) -> nn.Module:
    """`result`, if it is a network for such images. Raises Refusal, which says what it is."""
    if not isinstance(result, nn.Module):
        raise Refusal(f"returned {shown(result)}, not a network (torch.nn.Module)")
    try:
        logits = probe(result, sample.images, name="its result", data="clean")
    except ParameterError as error:
        raise Refusal(f"returned a network of no use: {error}") from error.__cause__
    if logits.shape[1] != classes:
        raise Refusal(f"returned a network of {logits.shape[1]} classes, not {classes}")
    return result


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor) -> Answer:
    """The answer to a question: the logits of stored images, in evaluation mode."""
    data = ImageSet(images, torch.zeros(len(images), dtype=torch.int64)).to(best_device())
    with evaluation_mode(network):
        parts = [require_rows(network(b.images), len(b.labels), name="its result") for b in batches(data, BATCH)]
    return {"is": "answer"}, {"answer": torch.cat(parts).float().cpu()}


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


class NetworkJob:
    """Train the network on a poisoned set, and repair it by defenses of the book."""

    def __init__(self, facts: Told, tensors: dict[str, Tensor], progress: Callable[[str], None]) -> None:
        import bdlib.defenses  # before the guard: its files are read now
        import bdlib.models.own
        from bdlib.data.datasets import DatasetFacts

        self.facts, self.progress, self.defenses = facts, progress, bdlib.defenses.DEFENSES
        self.poisoned, self.clean = image_set(tensors, "poisoned"), image_set(tensors, "clean")
        self.own = bdlib.models.own
        known = facts["data"]
        self.data = DatasetFacts(**known | {name: tuple(known[name]) for name in ("mean", "std", "counts")})

    def begin(self, module: ModuleType, function: str) -> Told:
        from bdlib.training.loop import Schedule, train

        build = self.own.OwnNetwork(function, function_in(module, function))
        try:
            self.own.fingerprint(build, self.data)
        except ParameterError as error:
            raise error.__cause__ or Refusal(str(error)) from None

        def tell(name: str, value: Any) -> None:
            if name == "epoch":
                self.progress(f"epoch {value.number + 1} of {schedule.epochs}, loss {value.mean_loss:.3f}")

        schedule, seed = Schedule(**self.facts["schedule"]), self.facts["seed"]
        network = seeded(lambda: build.fitted(self.data), seed=seed).to(best_device())
        start = time.perf_counter()
        train(network, self.poisoned, schedule, on_event=tell)
        self.victim = self.result = network.eval()
        weights = sum(parameter.numel() for parameter in network.parameters())
        return {"seconds": time.perf_counter() - start, "weights": weights}

    def answer(self, question: Message) -> Answer:
        if question.facts["is"] == "ask":
            return logits_of(self.result, question.tensors["images"])
        start, defense = time.perf_counter(), self.defenses[question.facts["defense"]]
        try:
            with count_passes() as passes:
                self.result = defense(self.victim, self.clean, **question.facts["keywords"])
        except ParameterError as error:
            return {"is": "misfit", "why": str(error)}, {}
        return {"is": "done", "passes": asdict(passes), "seconds": time.perf_counter() - start}, {}


JOBS: dict[str, Callable[[Told, dict[str, Tensor], Callable[[str], None]], Job]] = {
    "defense": DefenseJob,
    "attack": AttackJob,
    "network": NetworkJob,
}
