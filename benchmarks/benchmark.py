"""How fast everything is, in one table, each ratio measured within one run.

    python benchmarks/benchmark.py                       # quick scale: Fashion-MNIST, the small network
    python benchmarks/benchmark.py --profile cifar       # all of CIFAR-10; --full trains whole victims too, an hour
    python benchmarks/benchmark.py --profile paper       # CIFAR-10 and the papers' networks, on a GPU

Parts: `training` (images per second for each network, and minutes of a victim; the ratios to the bare forward, backward
and update, in this process and in one of its own, to the machine's matrix products, to a conventional pipeline and to
the Adversarial Robustness Toolbox where it is installed; peak memory), `victims` (one at the full schedule: seconds and
scores), `precision` (on a GPU: what bfloat16 and the compiler cost in scores), `defenses` (seconds and passes of each
at its setting, and whether the passes explain the seconds), `growth` (seconds against images, filters, attacks and
seeds). Ways that are compared take turns, after one turn of warm-up; the table gives the median, the lowest and the
highest.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from costs import defenses, growth
from measure import PROFILES, Elsewhere, Row, config_of, networks_of, timed
from training_speed import training

from bdlib import runtime
from bdlib.evaluation.metrics import Scores
from bdlib.experiments.victims import VictimConfig, evaluate_victim, load_data, poisoned_set
from bdlib.files import write_whole
from bdlib.runtime import best_device, runtime_facts
from bdlib.training.loop import train


def victims(profile: str, *, full: bool = False) -> Iterator[Row]:
    """A victim at the full schedule, and one that is never poisoned: how long, how accurate, how backdoored.

    `full` trains them also where they take a quarter of an hour, and the first with the toolbox as well.
    """
    if profile not in ("quick", "paper") and not full:
        return
    for name, attack in product(networks_of(profile)[:3], ("badnets", "none")):
        config = config_of(profile, model=name, attack=attack)
        model, data = config.untrained(), poisoned_set(config).data
        what = f"{name}, {'BadNets' if attack == 'badnets' else 'never poisoned'}, {config.victim_epochs} epochs"
        work = partial(train, model, data, config.schedule, compiled=data.labels.is_cuda)
        yield Row("victims", what, "seconds", [timed(work)])
        scores = evaluate_victim(config, model, load_data(config)[1])
        yield Row("victims", what, "ACC, %", [100 * scores.clean_accuracy])
        if attack != "none":
            yield Row("victims", what, "ASR, %", [100 * scores.asr])
        if attack != "none" and full and find_spec("art"):
            with closing(Elsewhere("art", profile, name, 0)) as toolbox:
                made = toolbox()
            yield from (Row("victims", f"{what}, by ART", measure, [value]) for measure, value in made.items())


def precision(profile: str, *, seeds: int = 3, data_fraction: float = 1.0) -> Iterator[Row]:
    """Scores as a GPU trains by default, minus those of single precision, eager; a quarter of the full schedule.

    Yields nothing on a CPU, where there is only the second way.
    """
    if not torch.cuda.is_available():
        return
    epochs, networks = max(1, config_of(profile).victim_epochs // 4), networks_of(profile)
    network = networks[len(networks) // 2]
    config = config_of(profile, model=network, victim_epochs=epochs, data_fraction=data_fraction)
    gaps: dict[str, list[float]] = {"ACC": [], "ASR": []}
    for seed in range(seeds):
        by_default = trained_scores(replace(config, seed=seed), compiled=True)
        with patch.object(runtime, "PRECISION", "float32"):
            single = trained_scores(replace(config, seed=seed), compiled=False)
        gaps["ACC"].append(100 * (by_default.clean_accuracy - single.clean_accuracy))
        gaps["ASR"].append(100 * (by_default.asr - single.asr))
    for score, points in gaps.items():
        what = f"{config.model}, {config.victim_epochs} epochs, {seeds} seeds"
        yield Row("precision", what, f"{score}, points more than in single precision", points)


def trained_scores(config: VictimConfig, *, compiled: bool) -> Scores:
    model = train(config.untrained(), poisoned_set(config).data, config.schedule, compiled=compiled)
    return evaluate_victim(config, model, load_data(config)[1])


PARTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "training": training, "victims": victims, "precision": precision, "defenses": defenses, "growth": growth,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--steps", type=int, default=40, help="training steps a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 2), help="of the conventional pipeline")
    parser.add_argument("--full", action="store_true", help="train victims and run defenses also where it takes hours")
    parser.add_argument("--out", type=Path, help="JSON file that receives the table, with its provenance")
    options = parser.parse_args()
    chosen = PARTS | {
        "training": partial(training, steps=options.steps, turns=options.turns, workers=options.workers),
        "victims": partial(victims, full=options.full),
        "defenses": partial(defenses, full=options.full),
    }
    best_device()
    rows = [row.cells() for part in options.parts for row in chosen[part](options.profile)]
    facts = runtime_facts()
    print(f"{facts['device']}, {facts['threads']} threads, torch {facts['torch']}, commit {facts['commit']}\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.3f}".format))
    if options.out:
        table = {"profile": options.profile, "runtime": facts, "rows": rows}
        write_whole(options.out, (json.dumps(table, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
