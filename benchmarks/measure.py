"""Seconds, memory and passes, measured so that ways which are compared are disturbed alike."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bdlib.experiments import notebooks
from bdlib.experiments.victims import VictimConfig

SEVERAL = {"paper": ("wrn_16_1", "resnet18", "preact_resnet18", "vgg19_bn")}
PROFILES = [
    name for name in notebooks.PROFILES if name != "smoke" and notebooks.profile_file("comparison", name).is_file()
]


def networks_of(profile: str) -> tuple[str, ...]:
    """The networks that a profile trains; where it has one for all papers, that of the comparison."""
    return SEVERAL.get(profile) or (config_of(profile).model,)


def config_of(profile: str, **changes: Any) -> VictimConfig:
    """The victim of the comparison at the profile, BadNets with seed 0, with changes."""
    fixed = {"attack": "badnets", "seed": 0}
    return VictimConfig.from_parameters(notebooks.parameters("comparison", profile) | fixed | changes)


@dataclass(frozen=True)
class Row:
    """One line of the table: the median of what was measured, with the lowest and the highest."""

    part: str
    what: str
    measure: str
    values: list[float]

    def cells(self) -> dict[str, object]:
        numbers = {"value": statistics.median(self.values), "low": min(self.values), "high": max(self.values)}
        return {"part": self.part, "what": self.what, "measure": self.measure} | {
            name: round(number, 4) for name, number in numbers.items()
        }


def interleaved(ways: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each way. They take turns, so that other load on the machine disturbs all; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, work in ways.items():
            one = timed(work)
            if turn:
                seconds[name].append(one)
    return seconds


def ratios(numerators: list[float], denominators: list[float]) -> list[float]:
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, on a GPU until it has finished."""
    _synchronize()
    start = time.perf_counter()
    work()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Elsewhere:
    """A way of `elsewhere.py`, in a process of its own without settings of threads; called, it takes a turn.

    `threads` is PyTorch's number of them, 0 its default. Raises RuntimeError where the process has died.
    """

    def __init__(self, way: str, profile: str, model: str, steps: int, threads: int = 0) -> None:
        script, unset = Path(__file__).with_name("elsewhere.py"), ("GOMP_", "OMP_", "KMP_", "MKL_", "BDLIB_THREADS")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        command = [sys.executable, script, way, profile, model, str(steps), str(threads)]
        self.way, pipe = way, subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def begin(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, float]:
        """What the turn took, `seconds`, and the scores of what was trained to the end."""
        assert self.process.stdout
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"{self.way}: the process of its own ended with status {self.process.wait()}")
        return json.loads(line)

    def __call__(self) -> dict[str, float]:
        self.begin()
        return self.end()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def peak_memory(work: Callable[[], object]) -> float:
    """GiB: of the GPU while `work` runs; on the CPU, of the process so far."""
    if not torch.cuda.is_available():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30
