"""A whole run, from a notebook's parameters to its record, without the notebook.

    python -m bdlib.experiments nad results/quick/nad/<name>.json --profile quick

makes the record of that name, one of the grid in notebooks/params/<profile>/<paper>.records.yaml; several names make
several, no name all that are missing. `bdlib.batch` does so for every paper.
"""

import argparse
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bdlib.data.datasets import DATASETS
from bdlib.data.images import ImageSet, split
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores, broken_premises
from bdlib.experiments import notebooks, records
from bdlib.experiments.parameters import validated
from bdlib.experiments.records import Record
from bdlib.experiments.victims import (
    VictimConfig,
    evaluate_victim,
    load_data,
    load_selection,
    load_trigger,
    load_victim,
    poisoned_set,
)
from bdlib.mechanisms import MECHANISMS
from bdlib.runtime import RESULTS, code_digest, imported, runtime_facts
from bdlib.types import EventLog


def run(paper: str, parameters: dict[str, Any]) -> Record:
    """Attack, defend and score once. `parameters` are those of the paper's notebook, all of them.

    The defence is the paper's own, or the one that a parameter `defense` names. Raises ParameterError, before any
    compute, for a parameter out of range.
    """
    config = VictimConfig.from_parameters(validated(parameters))
    _, test = load_data(config)
    backdoored, events = load_victim(config), EventLog()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # the record tells this run's, not what ran before it in the process
    start = time.perf_counter()
    defended = defend(paper, parameters, backdoored, events)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    before = evaluate_victim(config, backdoored, test)
    after = before if defended is backdoored else evaluate_victim(config, defended, test)
    clean = reserved(config, parameters)[0]
    measured = mechanism(paper, parameters, backdoored, defended, clean, test, events)
    return recorded(paper, parameters, before, after, seconds, measured)


def defend(paper: str, parameters: dict[str, Any], backdoored: nn.Module, events: EventLog | None = None) -> nn.Module:
    """The model after the defence of these parameters, which is handed what its signature asks for, and no more.

    Repairs ask for the backdoored `model` and `clean` images; defences that train ask for `make_model` and the
    `poisoned` set. One that asks for both sets gets disjoint ones: the attacker never had the clean images.
    """
    defense = parameters.get("defense", paper)
    if defense == "none":
        return backdoored
    config, function = VictimConfig.from_parameters(parameters), DEFENSES[defense]
    keywords = settings(function, parameters)
    if events is not None and "on_event" in inspect.signature(function).parameters:
        keywords["on_event"] = events
    return function(*handed(function, config, parameters, model=backdoored), **keywords)


def handed(function: Callable[..., Any], config: VictimConfig, parameters: dict[str, Any], **there: Any) -> list[Any]:
    """The positional arguments of a defence or a measure, by their names; `there` are those already made."""
    asked = [p.name for p in inspect.signature(function).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    there |= {"make_model": config.untrained, "trigger": load_trigger(config)}
    if {"clean", "poisoned", "truth"} & set(asked) - set(there):
        clean, rest = reserved(config, parameters)
        there.setdefault("clean", clean)
        if {"poisoned", "truth"} & set(asked):
            there["truth"] = poisoned_set(config, rest if "clean" in asked else None)
            there["poisoned"] = there["truth"].data
    if "train" in asked:
        there.setdefault("train", load_data(config)[0])
    if "selected" in asked:
        there.setdefault("selected", load_selection(config))
    return [there[name] for name in asked]


def reserved(config: VictimConfig, parameters: dict[str, Any]) -> tuple[ImageSet, ImageSet]:
    """The defender's clean images, and the rest of the clean training set; no images where no share is given."""
    train, _ = load_data(config)
    if "clean_fraction" not in parameters:
        return train[torch.zeros_like(train.labels, dtype=torch.bool)], train
    return split(train, parameters["clean_fraction"], seed=parameters["seed"])


def mechanism(
    paper: str,
    parameters: dict[str, Any],
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    events: EventLog | None = None,
) -> dict[str, float]:
    """What the paper says happens inside, measured; nothing where it has no such measure or another defence ran.

    A measure is handed what its signature asks for; `truth` is the poisoned set with its flags, `train` the same before
    it was poisoned, `selected` what the choice of images has shown, `events` what the defence has told. A measure that
    asks for `events` gives nothing where no run was watched.
    """
    if paper not in MECHANISMS or parameters.get("defense", paper) not in (paper, "none"):
        return {}
    measure, config = MECHANISMS[paper], VictimConfig.from_parameters(parameters)
    if not events and "events" in inspect.signature(measure).parameters:
        return {}
    there = {"model": model, "defended": defended, "clean": clean, "test": test, "events": events, "stages": events}
    return measure(*handed(measure, config, parameters, **there), **settings(measure, parameters))


def settings(function: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a defence, or of a measure, that stand in a notebook's parameters."""
    accepted = inspect.signature(function).parameters.values()
    given = parameters | {"augmentation": DATASETS[parameters["dataset"]].augmentation}
    return {p.name: given[p.name] for p in accepted if p.kind == p.KEYWORD_ONLY and p.name in given}


def recorded(
    paper: str,
    parameters: dict[str, Any],
    before: Scores,
    after: Scores,
    seconds: float,
    measured: dict[str, float] | None = None,
) -> Record:
    """The record of a run that has been scored; where a premise of the comparison is broken it says so."""
    facts: dict[str, Any] = {**runtime_facts(), "seconds": round(seconds, 2), "code": code_of(paper, parameters)}
    if torch.cuda.is_available():
        facts["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    kept = {name: value for name, value in parameters.items() if name != "record"}
    poisoned = parameters["attack"] != "none"
    premises = broken_premises(before, after) if poisoned else []
    answered = records.answers(paper, kept)
    return Record(paper, kept, before, after, answered, premises, facts, measured or {})


def code_of(paper: str, parameters: dict[str, Any]) -> str:
    """A digest of the code behind a record's numbers; a record that holds another one is out of date."""
    defense = parameters.get("defense", paper)
    files = imported(DEFENSES[defense].__module__) if defense != "none" else []
    if paper in MECHANISMS and defense in (paper, "none"):
        files = sorted({*files, *imported(MECHANISMS[paper].__module__)})
    return code_digest(*files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper", choices=notebooks.papers())
    parser.add_argument("records", type=Path, nargs="*", help="files named after runs of the grid; none: all missing")
    parser.add_argument("--profile", default="quick", choices=notebooks.PROFILES)
    options = parser.parse_intermixed_args()  # files may stand before or behind --profile
    grid = {records.name(point): point for point in notebooks.grid(options.paper, options.profile)}
    folder = RESULTS / options.profile / options.paper
    paths = options.records or [folder / f"{name}.json" for name in grid if not (folder / f"{name}.json").is_file()]
    for path in paths:
        if path.stem not in grid:
            parser.error(f"record {path.name}: not in the grid of {options.paper} at profile {options.profile}")
    for path in paths:
        record = run(options.paper, grid[path.stem])
        record.save(path)
        print(f"{path.stem}: ACC {record.after.clean_accuracy:.1%}, ASR {record.after.asr:.1%}", flush=True)


if __name__ == "__main__":
    main()
