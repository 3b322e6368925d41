"""Seconds and memory, measured so that ways which are compared are disturbed alike."""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bdlib.experiments.victims import VictimConfig

NETWORKS = {"quick": ("small_resnet",), "paper": ("wrn_16_1", "resnet18", "preact_resnet18", "vgg19_bn")}


def config_of(profile: str, **changes: Any) -> VictimConfig:
    """A victim of the profile's data set and batch size."""
    dataset, batch_size = {"quick": ("fashion", 64), "paper": ("cifar10", 128)}[profile]
    return VictimConfig(dataset=dataset, victim_batch_size=batch_size, **changes)


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


def peak_memory(work: Callable[[], object]) -> float:
    """GiB: of the GPU while `work` runs; on the CPU, of the process so far."""
    if not torch.cuda.is_available():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30
