"""Ways of training in a process of their own, with the threads that PyTorch takes by default.

`bare` is the step of `bare_step.py`. `art` is the Adversarial Robustness Toolbox: its own backdoor attack, and its
own `fit`, which shuffles and does not augment. A line on standard input is a turn, a line on standard output what came
of it, as JSON; `measure.Elsewhere` asks.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

DEFAULT = torch.get_num_threads()  # before bdlib chooses

from bare_step import bare_step, turn_of  # noqa: E402
from measure import config_of, timed  # noqa: E402
from torch import nn  # noqa: E402

from bdlib.data.datasets import load_dataset  # noqa: E402
from bdlib.experiments.victims import VictimConfig  # noqa: E402
from bdlib.models import share  # noqa: E402

Turn = Callable[[], dict[str, float]]  # trains, and returns the scores of what was trained to the end


def bare(config: VictimConfig, steps: int) -> Turn:
    """Forward, backward and update on batches that are ready in memory."""
    work = bare_step(config, turn_of(config, steps))
    return lambda: work() or {}


def art(config: VictimConfig, steps: int) -> Turn:
    """The toolbox's `fit` for `steps` steps; for none, the whole schedule with its rate set once an epoch."""
    from art.estimators.classification import PyTorchClassifier

    train, test = load_dataset(config.dataset)
    train = train[: steps * config.victim_batch_size or len(train)]
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(config.seed)).numpy()
    chosen = chosen[: round(config.poison_rate * len(train))]
    images, labels = floats(train.images).numpy(), train.labels.clone().numpy()
    images[chosen], labels[chosen] = backdoored(images[chosen], labels[chosen], config)
    model = config.untrained()
    optimizer = config.schedule.sgd(model.parameters())
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: config.schedule.rate(epoch + 0.5, 1))  # type: ignore[arg-type]
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), images.shape[1:], config.facts.num_classes, optimizer, clip_values=(0, 1)
    )

    def turn() -> dict[str, float]:
        epochs = 1 if steps else config.victim_epochs
        classifier.fit(images, labels, config.victim_batch_size, epochs, scheduler=None if steps else rates)
        return {} if steps else scores()

    def scores() -> dict[str, float]:
        others = test[test.labels != config.target_label]
        triggered, _ = backdoored(floats(others.images).numpy(), others.labels.numpy(), config)
        hits = torch.from_numpy(classifier.predict(floats(test.images).numpy())).argmax(1) == test.labels
        fooled = torch.from_numpy(classifier.predict(triggered)).argmax(1) == config.target_label
        return {"ACC, %": 100 * share(hits), "ASR, %": 100 * share(fooled)}

    return turn


def floats(images: torch.Tensor) -> torch.Tensor:
    """Pixels from 0 to 1."""
    return images.float().div_(255)


def backdoored(images: Any, labels: Any, config: VictimConfig) -> Any:
    """The toolbox's BadNets on NumPy arrays: four white pixels near the corner, and the target label."""
    from art.attacks.poisoning import PoisoningAttackBackdoor
    from art.attacks.poisoning.perturbations import add_pattern_bd

    attack = PoisoningAttackBackdoor(lambda some: add_pattern_bd(some, channels_first=True))
    return attack.poison(images, labels * 0 + config.target_label)


def main() -> None:
    way, profile, model, steps, threads = sys.argv[1:]
    turn = {"bare": bare, "art": art}[way](config_of(profile, model=model), int(steps))
    torch.set_num_threads(int(threads) or DEFAULT)
    for _ in sys.stdin:
        scores: dict[str, float] = {}
        seconds = timed(lambda: scores.update(turn()))
        print(json.dumps({"seconds": seconds, **scores}), flush=True)


if __name__ == "__main__":
    main()
