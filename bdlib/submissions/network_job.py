"""The job of a stranger's network: it is trained on a poisoned set, and repaired by defenses of the book."""

import time
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType
from typing import Any

from torch import Tensor

from bdlib.checks import ParameterError
from bdlib.data.passes import count_passes
from bdlib.models import seeded
from bdlib.runtime import best_device
from bdlib.submissions.job import Answer, Refusal, Told, function_in, image_set, logits_of
from bdlib.submissions.messages import Message


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
