"""Victim training beside the bare step, the machine's matrix products, a conventional pipeline, and a toolbox."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from importlib.util import find_spec

import torch
from bare_step import bare_step, operations, turn_of
from conventional import conventional, loader
from measure import Elsewhere, Row, config_of, interleaved, networks_of, peak_memory, ratios

from bdlib.data.images import ImageSet
from bdlib.experiments.victims import VictimConfig, poisoned_set
from bdlib.training.loop import train

SIDE, PRODUCTS = 1536, 4  # of the square matrices whose products are the machine's peak; how many a turn


def training(profile: str, *, steps: int = 40, turns: int = 5, workers: int = 2) -> Iterator[Row]:
    """The loop and what it is set beside, turn by turn, for each network."""
    for name in networks_of(profile):
        config, rows = config_of(profile, model=name), partial(Row, "training", name)
        one_epoch, data = config_of(profile, model=name, victim_epochs=1), turn_of(config, steps)
        seconds = timings(profile, one_epoch, data, turns, workers)
        speed = {way: [len(data) / one for one in took] for way, took in seconds.items()}
        yield rows("images per second", speed["loop"])
        yield rows("time of a step, times the bare step", ratios(seconds["loop"], seconds["bare"]))
        yield rows("time of a step, times the bare step in a process of its own",
                   ratios(seconds["loop"], seconds["bare elsewhere"]))  # fmt: skip
        share = 100 * operations(one_epoch, data) / (PRODUCTS * 2 * SIDE**3)
        yield rows(
            "rate of its products, % of the machine's",
            [share * r for r in ratios(seconds["products"], seconds["loop"])],
        )
        for way, words in {"conventional": f"the conventional pipeline ({workers} workers)", "art": "ART"}.items():
            if way in speed:
                yield rows(f"images per second, times {words}", ratios(seconds[way], seconds["loop"]))
        if "pair" in speed:
            yield rows("images per second of two bare processes with a thread each", [2 * one for one in speed["pair"]])
        images = config.victim_epochs * len(poisoned_set(config).data)
        for way in (way for way in ("loop", "conventional", "art") if way in speed):
            minutes = [images / one / 60 for one in speed[way]]
            yield rows(f"minutes of the victim's {config.victim_epochs} epochs, from {steps} steps: {way}", minutes)
        yield rows("peak memory, GiB", [peak_memory(partial(train, config.untrained(), data, one_epoch.schedule))])


def timings(profile: str, config: VictimConfig, data: ImageSet, turns: int, workers: int) -> dict[str, list[float]]:
    """Seconds of each way to train on `data`, and of some products of matrices."""
    gpu, steps = data.labels.is_cuda, len(data) // config.victim_batch_size
    model = config.untrained().to(data.labels.device, memory_format=torch.channels_last)
    matrix = torch.rand(SIDE, SIDE, device=data.labels.device)
    ways: dict[str, Callable[[], object]] = {
        "loop": partial(train, model, data, config.schedule, compiled=gpu),
        "bare": bare_step(config, data),
        "conventional": partial(conventional, config.untrained().to(data.labels.device), loader(data, config, workers)),
        "products": lambda: [matrix @ matrix for _ in range(PRODUCTS)],
    }
    with ExitStack() as stack:

        def elsewhere(way: str, threads: int = 0) -> Elsewhere:
            return stack.enter_context(closing(Elsewhere(way, profile, config.model, steps, threads)))

        ways["bare elsewhere"] = elsewhere("bare")
        if find_spec("art"):
            ways["art"] = elsewhere("art")
        if not gpu:
            ways["pair"] = partial(together, elsewhere("bare", 1), elsewhere("bare", 1))
        return interleaved(ways, turns)


def together(*processes: Elsewhere) -> None:
    """A turn of all of them at once."""
    for process in processes:
        process.begin()
    for process in processes:
        process.end()
