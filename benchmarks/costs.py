"""What a defense costs, in seconds and in passes, and how the time of a victim grows."""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bare_step import bare_step
from measure import Row, config_of, networks_of, timed

from bdlib import models
from bdlib.data.passes import count_passes
from bdlib.defenses import DEFENSES
from bdlib.experiments import notebooks, records
from bdlib.experiments import run as experiments
from bdlib.experiments.names import method_name
from bdlib.experiments.victims import VictimConfig, load_data, poisoned_set, trained_victim
from bdlib.training.loop import train


def defenses(profile: str, *, full: bool = False) -> Iterator[Row]:
    """Each defense once at its setting, on the victim of its own chapter, which is trained first if it is not there.

    Where that takes hours, which `full` asks for, the seconds are those of the records.
    """
    for key in DEFENSES:
        paper = key if key in notebooks.papers() else "comparison"
        parameters = notebooks.parameters(paper, profile) | ({"defense": key} if paper == "comparison" else {})
        if full or profile in ("quick", "paper"):
            yield from live(key, paper, parameters)
        elif seconds := [record.runtime["seconds"] for record in records.load(paper, profile)
                         if record.parameters.get("defense", key) == key]:  # fmt: skip
            yield Row("defenses", method_name(key), f"seconds of {len(seconds)} records", seconds)


def live(key: str, paper: str, parameters: dict[str, object]) -> Iterator[Row]:
    """Seconds of a defense, its passes over the images that it is given, and how well these explain those.

    A pass with gradients is taken to cost as much as in the bare step, one without as much as a look at the images.
    """
    config = VictimConfig.from_parameters(parameters)
    backdoored, data = trained_victim(config), load_data(config)[0]
    if "poisoned" not in inspect.signature(DEFENSES[key]).parameters:
        data = experiments.reserved(config, parameters)[0]
    with count_passes() as seen:
        seconds = timed(partial(experiments.defend, paper, parameters, backdoored))
    few = data[:1024]
    costs = {"training": timed(bare_step(config, few)), "looking": timed(partial(models.predict, backdoored, few))}
    passes = {"training": seen.backward, "looking": seen.forward - seen.backward}
    explained = sum(passes[kind] / len(few) * costs[kind] for kind in passes)
    yield Row("defenses", method_name(key), "seconds", [seconds])
    yield Row("defenses", method_name(key), "passes with gradients", [passes["training"] / len(data)])
    yield Row("defenses", method_name(key), "passes without", [passes["looking"] / len(data)])
    yield Row("defenses", method_name(key), "seconds, times those that its passes take", [seconds / explained])


def growth(profile: str) -> Iterator[Row]:
    """Seconds of victim training, poisoning included, against images, filters, attacks and seeds; one epoch each."""
    base = config_of(profile, model=networks_of(profile)[0], victim_epochs=1)
    base = replace(base, data_fraction=2400 / len(load_data(base)[0]))
    once([base])  # warms up
    for times in (0.5, 1, 2, 4):
        one = replace(base, data_fraction=times * base.data_fraction)
        yield Row("growth", f"{2400 * times:,.0f} images", "seconds", [once([one])])
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
    facts = config.facts
    net = models.small_resnet(facts.channels, facts.num_classes, facts.mean, facts.std, width=width)
    train(net, poisoned_set(config).data, config.schedule)
