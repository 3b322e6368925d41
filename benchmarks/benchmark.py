"""How fast everything is, in one table, each ratio measured within one run.

    python benchmarks/benchmark.py                       # quick scale: Fashion-MNIST, the small network
    python benchmarks/benchmark.py --profile paper       # CIFAR-10 and the papers' networks, on a GPU

Parts: `training` (images per second and epoch time for each network; the ratio to the bare forward, backward and
update; the ratio to a conventional pipeline; peak memory), `victims` (one at the full schedule: seconds and scores),
`precision` (on a GPU: what bfloat16 and the compiler cost in scores), `defenses` (seconds of each at its setting),
`growth` (seconds against images, width, attacks and seeds). Ways that are compared take turns in one process, after one
turn of warm-up; the table gives the median and the ends.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bdlib import models
from bdlib.data._torchvision import torchvision
from bdlib.data.datasets import DATASETS
from bdlib.data.images import ImageSet, batches
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import notebooks
from bdlib.experiments import run as experiments
from bdlib.experiments.victims import VictimConfig, evaluate_victim, load_data, load_victim, poisoned_set
from bdlib.report.tables import method_name
from bdlib.runtime import runtime_facts, write_whole
from bdlib.training.loop import train
from bdlib.types import Batch

NETWORKS = {"quick": ("small_resnet",), "paper": ("wrn_16_1", "resnet18", "preact_resnet18", "vgg19_bn")}
DATA = {"quick": "fashion", "paper": "cifar10"}
BATCH_SIZE = {"quick": 64, "paper": 128}


@dataclass(frozen=True)
class Row:
    """One line of the table: the median of what was measured, and its ends."""

    part: str
    what: str
    measure: str
    values: list[float]

    def told(self) -> dict[str, object]:
        ends = {"value": statistics.median(self.values), "low": min(self.values), "high": max(self.values)}
        return {"part": self.part, "what": self.what, "measure": self.measure} | {
            name: round(number, 4) for name, number in ends.items()
        }


def training(profile: str, *, steps: int = 60, turns: int = 5, workers: int = 2) -> Iterator[Row]:
    """Victim training beside the bare step and the conventional pipeline, turn by turn in one process."""
    for name in NETWORKS[profile]:
        config = VictimConfig(dataset=DATA[profile], model=name, victim_epochs=1, victim_batch_size=BATCH_SIZE[profile])
        poisoned = poisoned_set(config).data
        data = poisoned[torch.arange(steps * config.victim_batch_size, device=poisoned.labels.device) % len(poisoned)]
        ready, usual = list(batches(data, config.victim_batch_size)), conventional(data, config, workers)
        gpu = data.labels.is_cuda
        model = config.untrained().to(data.labels.device, memory_format=torch.channels_last)
        forward = torch.compile(model) if gpu else model
        eager = config.untrained().to(data.labels.device)
        taken = interleaved({
            "loop": partial(train, model, data, config.schedule, compiled=gpu),
            "bare": partial(bare, model, forward, ready, config),
            "conventional": partial(usually, eager, usual),
        }, turns)  # fmt: skip
        speed = [len(data) / seconds for seconds in taken["loop"]]
        yield Row("training", name, "images per second", speed)
        yield Row("training", name, f"seconds an epoch of {len(poisoned):,} images", [len(poisoned) / s for s in speed])
        yield Row("training", name, "time of a step, times the bare step", ratios(taken["loop"], taken["bare"]))
        measure = f"images per second, times the conventional pipeline ({workers} workers)"
        yield Row("training", name, measure, ratios(taken["conventional"], taken["loop"]))
        yield Row("training", name, "peak memory, GiB", [peak_memory(partial(train, model, data, config.schedule))])


def interleaved(ways: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each way, in turn, so that what disturbs the machine disturbs all; one turn warms up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, work in ways.items():
            seconds = timed(work)
            if turn:
                taken[name].append(seconds)
    return taken


def ratios(one: list[float], other: list[float]) -> list[float]:
    return [mine / theirs for mine, theirs in zip(one, other, strict=True)]


def timed(work: Callable[[], object]) -> float:
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(work: Callable[[], object]) -> float:
    """GiB: of the GPU while `work` runs; on the CPU, of the process so far."""
    if not torch.cuda.is_available():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def bare(model: nn.Module, forward: Callable[..., torch.Tensor], ready: list[Batch], config: VictimConfig) -> None:
    """Forward, backward and update on batches that lie ready: what no loop can go below without another step."""
    optimizer = config.schedule.sgd(model.parameters())
    device = ready[0].labels.device
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    model.train()
    for batch in ready:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(forward(batch.images), batch.labels)
        loss.backward()
        optimizer.step()


class Pictures(Dataset):
    """Images as PIL pictures, augmented one by one: how the common toolboxes feed their networks."""

    def __init__(self, data: ImageSet, config: VictimConfig) -> None:
        facts, steps = DATASETS[config.dataset], torchvision.transforms
        arrays = data.images.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()
        self.pictures = [Image.fromarray(array) for array in arrays]
        self.labels = data.labels.tolist()
        self.transform = steps.Compose([
            steps.RandomCrop(facts.size, padding=facts.augmentation), steps.RandomHorizontalFlip(), steps.ToTensor(),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def conventional(data: ImageSet, config: VictimConfig, workers: int) -> DataLoader:
    """Batches of `Pictures` from worker processes. The networks normalize, here as everywhere."""
    return DataLoader(Pictures(data, config), config.victim_batch_size, shuffle=True, num_workers=workers,
                      persistent_workers=workers > 0, pin_memory=data.labels.is_cuda)  # fmt: skip


def usually(model: nn.Module, loader: DataLoader) -> None:
    """One pass in fp32, eager, with the loss read after every step."""
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()


def victims(profile: str) -> Iterator[Row]:
    """A victim at the full schedule, and one that is never poisoned: how long, how accurate, how backdoored."""
    epochs = notebooks.parameters("nad", profile)["victim_epochs"]
    for name, attack in product(NETWORKS[profile][:3], ("badnets", "none")):
        config = VictimConfig(dataset=DATA[profile], model=name, attack=attack, victim_epochs=epochs,
                        victim_batch_size=BATCH_SIZE[profile])  # fmt: skip
        model, data = config.untrained(), poisoned_set(config).data
        what = f"{name}, {'BadNets' if attack == 'badnets' else 'never poisoned'}, {epochs} epochs"
        work = partial(train, model, data, config.schedule, compiled=data.labels.is_cuda)
        yield Row("victims", what, "seconds", [timed(work)])
        scores = evaluate_victim(config, model, load_data(config)[1])
        yield Row("victims", what, "ACC, %", [100 * scores.clean_accuracy])
        if attack != "none":
            yield Row("victims", what, "ASR, %", [100 * scores.asr])


def precision(profile: str, *, seeds: int = 3, data_fraction: float = 1.0) -> Iterator[Row]:
    """Scores as a GPU trains by default, minus those of single precision, eager; a quarter of the full schedule.

    Yields nothing on a CPU, where there is only the second way.
    """
    if not torch.cuda.is_available():
        return
    config = VictimConfig(dataset=DATA[profile], model=NETWORKS[profile][len(NETWORKS[profile]) // 2],
                    victim_epochs=max(1, notebooks.parameters("nad", profile)["victim_epochs"] // 4),
                    victim_batch_size=BATCH_SIZE[profile], data_fraction=data_fraction)  # fmt: skip
    gaps: dict[str, list[float]] = {"ACC": [], "ASR": []}
    for seed in range(seeds):
        by_default = trained_scores(replace(config, seed=seed), compiled=True)
        with patch.object(torch.cuda, "is_bf16_supported", lambda: False):
            single = trained_scores(replace(config, seed=seed), compiled=False)
        gaps["ACC"].append(100 * (by_default.clean_accuracy - single.clean_accuracy))
        gaps["ASR"].append(100 * (by_default.asr - single.asr))
    for score, found in gaps.items():
        what = f"{config.model}, {config.victim_epochs} epochs, {seeds} seeds"
        yield Row("precision", what, f"{score}, points more than in single precision", found)


def trained_scores(config: VictimConfig, *, compiled: bool) -> Scores:
    model = train(config.untrained(), poisoned_set(config).data, config.schedule, compiled=compiled)
    return evaluate_victim(config, model, load_data(config)[1])


def defenses(profile: str) -> Iterator[Row]:
    """Each defence once at its setting, on the victim of its own chapter, which is trained first if it is not there."""
    for key in DEFENSES:
        paper = key if key in notebooks.papers() else "comparison"
        parameters = notebooks.parameters(paper, profile) | ({"defense": key} if paper == "comparison" else {})
        backdoored = load_victim(VictimConfig.from_parameters(parameters))
        seconds = timed(partial(experiments.defend, paper, parameters, backdoored))
        yield Row("defenses", method_name(key), "seconds", [seconds])


def growth(profile: str) -> Iterator[Row]:
    """Seconds of victim training, poisoning included, against images, width, attacks and seeds; one epoch each."""
    base = VictimConfig(dataset=DATA[profile], model=NETWORKS[profile][0], victim_epochs=1, data_fraction=0.2,
                  victim_batch_size=BATCH_SIZE[profile])  # fmt: skip
    once([base])  # warms up
    for fraction in (0.1, 0.2, 0.4, 0.8):
        yield Row("growth", f"{fraction:.0%} of the images", "seconds", [once([replace(base, data_fraction=fraction)])])
    for width in (16, 32, 64):
        yield Row("growth", f"width {width}", "seconds", [timed(partial(widened, base, width))])
    for attacks in (["badnets"], ["badnets", "blended"], ["badnets", "blended", "sig", "low_frequency"]):
        configs = [replace(base, attack=attack) for attack in attacks]
        yield Row("growth", f"attacks: {len(attacks)}", "seconds", [once(configs)])
    for seeds in (1, 2, 4):
        configs = [replace(base, seed=seed) for seed in range(seeds)]
        yield Row("growth", f"seeds: {seeds}", "seconds", [once(configs)])


def once(configs: list[VictimConfig]) -> float:
    """Seconds to poison and to train them all, nothing read from the cache."""
    return timed(lambda: [train(r.untrained(), poisoned_set(r).data, r.schedule) for r in configs])


def widened(config: VictimConfig, width: int) -> None:
    """An epoch of a small network whose stages have `width`, twice and four times as many filters."""
    facts = DATASETS[config.dataset]
    net = models.small_resnet(facts.channels, facts.num_classes, facts.mean, facts.std, width=width)
    train(net, poisoned_set(config).data, config.schedule)


PARTS = ("training", "victims", "precision", "defenses", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=tuple(NETWORKS))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--steps", type=int, default=60, help="training steps a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 2), help="of the conventional pipeline")
    parser.add_argument("--out", type=Path, help="JSON file that receives the table, with its provenance")
    options = parser.parse_args()
    ways: dict[str, Callable[[], Iterator[Row]]] = {
        "training": partial(training, options.profile, steps=options.steps, turns=options.turns,
                            workers=options.workers),
        "victims": partial(victims, options.profile),
        "precision": partial(precision, options.profile),
        "defenses": partial(defenses, options.profile),
        "growth": partial(growth, options.profile),
    }  # fmt: skip
    rows = [row.told() for part in options.parts for row in ways[part]()]
    facts = runtime_facts()
    print(f"{facts['device']}, {facts['threads']} threads, torch {facts['torch']}, commit {facts['commit']}\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.3f}".format))
    if options.out:
        kept = {"profile": options.profile, "runtime": facts, "rows": rows}
        write_whole(options.out, (json.dumps(kept, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
