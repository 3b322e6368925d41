"""How fast everything is, in one table, each ratio measured within one run.

    python benchmarks/benchmark.py                       # quick scale: Fashion-MNIST, the small network
    python benchmarks/benchmark.py --profile paper       # CIFAR-10 and the papers' networks, on a GPU

Parts: `training` (images per second and epoch time for each network; the ratio to the bare forward, backward and
update; the ratio to a conventional pipeline; peak memory), `victims` (one at the full schedule: seconds and scores),
`precision` (on a GPU: what bfloat16 and the compiler cost in scores), `defenses` (seconds of each at its setting),
`growth` (seconds against images, width, attacks and seeds). Ways that are compared take turns in one process, after one
turn of warm-up; the table gives the median, the lowest and the highest.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from measure import NETWORKS, Row, config_of, timed
from training_speed import training

from bdlib import models
from bdlib.data.datasets import DATASETS
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import notebooks
from bdlib.experiments import run as experiments
from bdlib.experiments.victims import VictimConfig, evaluate_victim, load_data, load_victim, poisoned_set
from bdlib.files import write_whole
from bdlib.report.tables import method_name
from bdlib.runtime import runtime_facts
from bdlib.training.loop import train


def victims(profile: str) -> Iterator[Row]:
    """A victim at the full schedule, and one that is never poisoned: how long, how accurate, how backdoored."""
    epochs = notebooks.parameters("nad", profile)["victim_epochs"]
    for name, attack in product(NETWORKS[profile][:3], ("badnets", "none")):
        config = config_of(profile, model=name, attack=attack, victim_epochs=epochs)
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
    epochs = max(1, notebooks.parameters("nad", profile)["victim_epochs"] // 4)
    network = NETWORKS[profile][len(NETWORKS[profile]) // 2]
    config = config_of(profile, model=network, victim_epochs=epochs, data_fraction=data_fraction)
    gaps: dict[str, list[float]] = {"ACC": [], "ASR": []}
    for seed in range(seeds):
        by_default = trained_scores(replace(config, seed=seed), compiled=True)
        with patch.object(torch.cuda, "is_bf16_supported", lambda: False):
            single = trained_scores(replace(config, seed=seed), compiled=False)
        gaps["ACC"].append(100 * (by_default.clean_accuracy - single.clean_accuracy))
        gaps["ASR"].append(100 * (by_default.asr - single.asr))
    for score, points in gaps.items():
        what = f"{config.model}, {config.victim_epochs} epochs, {seeds} seeds"
        yield Row("precision", what, f"{score}, points more than in single precision", points)


def trained_scores(config: VictimConfig, *, compiled: bool) -> Scores:
    model = train(config.untrained(), poisoned_set(config).data, config.schedule, compiled=compiled)
    return evaluate_victim(config, model, load_data(config)[1])


def defenses(profile: str) -> Iterator[Row]:
    """Each defense once at its setting, on the victim of its own chapter, which is trained first if it is not there."""
    for key in DEFENSES:
        paper = key if key in notebooks.papers() else "comparison"
        parameters = notebooks.parameters(paper, profile) | ({"defense": key} if paper == "comparison" else {})
        backdoored = load_victim(VictimConfig.from_parameters(parameters))
        seconds = timed(partial(experiments.defend, paper, parameters, backdoored))
        yield Row("defenses", method_name(key), "seconds", [seconds])


def growth(profile: str) -> Iterator[Row]:
    """Seconds of victim training, poisoning included, against images, width, attacks and seeds; one epoch each."""
    base = config_of(profile, model=NETWORKS[profile][0], victim_epochs=1, data_fraction=0.2)
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
    return timed(lambda: [train(one.untrained(), poisoned_set(one).data, one.schedule) for one in configs])


def widened(config: VictimConfig, width: int) -> None:
    """An epoch of a small network whose stages have `width`, twice and four times as many filters."""
    facts = DATASETS[config.dataset]
    net = models.small_resnet(facts.channels, facts.num_classes, facts.mean, facts.std, width=width)
    train(net, poisoned_set(config).data, config.schedule)


PARTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "training": training, "victims": victims, "precision": precision, "defenses": defenses, "growth": growth,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=tuple(NETWORKS))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--steps", type=int, default=60, help="training steps a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 2), help="of the conventional pipeline")
    parser.add_argument("--out", type=Path, help="JSON file that receives the table, with its provenance")
    options = parser.parse_args()
    ours = partial(training, steps=options.steps, turns=options.turns, workers=options.workers)
    rows = [row.cells() for part in options.parts for row in (PARTS | {"training": ours})[part](options.profile)]
    facts = runtime_facts()
    print(f"{facts['device']}, {facts['threads']} threads, torch {facts['torch']}, commit {facts['commit']}\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.3f}".format))
    if options.out:
        table = {"profile": options.profile, "runtime": facts, "rows": rows}
        write_whole(options.out, (json.dumps(table, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
