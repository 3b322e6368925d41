"""Models scored on the way through a run, for figures."""

import time
from collections.abc import Callable
from typing import Any

from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.passes import uncounted
from bdlib.evaluation.metrics import Scores
from bdlib.training.loop import Epoch
from bdlib.types import EventLog


class Course(EventLog):
    """An event log that also looks at the models it is told, at every `every`-th event of the given `names`.

    Example::

        course = Course(lambda model: evaluate(model, test, trigger, target_label=0), "unlearning_step", every=4)
        defended = rnp(victim, clean, on_event=course)
        lines = course.lines("unlearning_step")

    `looks[name]` holds what `look(model)` returned, by the number of events so called; copy a model to keep it.
    `seconds` is the time spent in `look`, to be subtracted from that of the run; passes in it are not counted.
    """

    @checked
    def __init__(self, look: Callable[[nn.Module], Any], *names: str, every: ranges.Count = 1) -> None:
        super().__init__()
        self.look, self.every, self.seconds = look, every, 0.0
        self.looks: dict[str, dict[int, Any]] = {name: {} for name in names}

    def __call__(self, name: str, value: Any) -> None:
        super().__call__(name, value)
        if name in self.looks and self.counts[name] % self.every == 0:
            start = time.perf_counter()
            with uncounted():
                self.looks[name][self.counts[name]] = self.look(value.model if isinstance(value, Epoch) else value)
            self.seconds += time.perf_counter() - start

    def lines(self, name: str, before: Scores | None = None) -> dict[str, tuple[list[int], list[float]]]:
        """ACC and ASR in per cent over the number of events, where `look` returned `Scores`; `before` is at 0."""
        scores: dict[int, Scores] = ({0: before} if before else {}) | self.looks[name]
        return {"ACC": (list(scores), [100 * s.clean_accuracy for s in scores.values()]),
                "ASR": (list(scores), [100 * s.asr for s in scores.values()])}  # fmt: skip
