"""A whole run, from a notebook's parameters to its record, without the notebook.

bdlib run nad -p attack=blended -p seed=3
"""

import inspect
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.datasets import CLASS_NAMES
from bdlib.data.images import ImageSet, split
from bdlib.data.passes import Passes, count_passes
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores, broken_premises
from bdlib.experiments import records
from bdlib.experiments.answerers import answerer_of
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.memory import peak_memory, reset_peak_memory
from bdlib.experiments.parameters import decisive, settings, validated
from bdlib.experiments.records import Record
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.experiments.repairs import chapter_run
from bdlib.experiments.sources import fact_of
from bdlib.experiments.versions import defense_of, is_measured, versions
from bdlib.experiments.victims import (
    evaluate_victim,
    load_data,
    load_selection,
    load_trigger,
    poisoned_set,
    trained_victim,
    victim_path,
)
from bdlib.mechanisms import MECHANISMS
from bdlib.runtime import runtime_facts
from bdlib.types import EventLog, OnEvent, ignore


def run(paper: str, parameters: dict[str, Any]) -> Record:
    """Attack, defend and score once. `parameters` are those of the paper's notebook, all of them.

    The defense is the paper's own, or the one that a parameter `defense` names. A page without a victim
    (`bdlib.experiments.regression`) runs its own experiment. Raises ParameterError, before any
    compute, for parameters that the notebook would refuse.

    >>> run("nad", notebooks.parameters("nad", "quick") | {"attack": "blended"}).after.asr
    """
    if paper in WITHOUT_VICTIM:
        return _measured(paper, validated(paper, parameters))
    config = VictimConfig.from_parameters(validated(paper, parameters))
    test, backdoored, events = load_data(config)[1], trained_victim(config), EventLog()
    reset_peak_memory()
    start = time.perf_counter()
    defended = defend(paper, parameters, backdoored, events)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    before = evaluate_victim(config, backdoored, test)
    after = before if defended is backdoored else evaluate_victim(config, defended, test)
    clean = reserved(config, parameters)[0]
    measured = mechanism(paper, parameters, backdoored, defended, clean, test, events) | events.get("chosen", {})
    return recorded(paper, parameters, before, after, seconds, measured, events.get("passes"))


def _measured(paper: str, parameters: dict[str, Any]) -> Record:
    """The record of a run of a page without a victim: all its numbers are measures."""
    start = time.perf_counter()
    measured = WITHOUT_VICTIM[paper].from_parameters(parameters).measure()
    seconds = round(time.perf_counter() - start, 2)
    facts: dict[str, Any] = runtime_facts() | {"precision": "float64", "seconds": seconds}
    parameters = decisive(parameters)
    return Record(paper, parameters, None, None, None, [], facts, measured, versions(paper, parameters))


def defend(paper: str, parameters: dict[str, Any], model: nn.Module, on_event: OnEvent = ignore) -> nn.Module:
    """The model after the defense of these parameters, which gets what its signature asks for, and no more.

    Repairs ask for the backdoored `model` and `clean` images; defenses that train ask for `make_model` and the
    `poisoned` set. One that asks for both sets gets disjoint ones: the attacker never had the clean images.
    `on_event` is told "passes" too, the work of the defense alone (`bdlib.data.passes.Passes`).
    """
    if (defense := defense_of(paper, parameters)) == "none":
        return model
    if "repaired_by" in parameters:
        paper, parameters = chapter_run(parameters)
    config, function = VictimConfig.from_parameters(parameters), DEFENSES[defense]
    keywords = settings(function, parameters)
    if "on_event" in inspect.signature(function).parameters:
        keywords["on_event"] = on_event
    arguments = positional(function, config, parameters, model=model)  # may train what the attacker needs
    with count_passes() as passes:
        defended = function(*arguments, **keywords)
    on_event("passes", passes)
    return defended


def positional(
    function: Callable[..., Any], config: VictimConfig, parameters: dict[str, Any], **made: Any
) -> list[Any]:
    """The positional arguments of a defense or a measure, by their names; `made` are those that exist already."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    asked = [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]

    def truth() -> Poisoned:
        return poisoned_set(config, reserved(config, parameters)[1] if "clean" in asked else None)

    makers: dict[str, Callable[[], Any]] = {
        "make_model": lambda: config.untrained,
        "trigger": lambda: load_trigger(config),
        "clean": lambda: reserved(config, parameters)[0],
        "truth": truth,
        "poisoned": lambda: truth().data,
        "train": lambda: load_data(config)[0],
        "twin": lambda: trained_victim(config.twin),
        "selected": lambda: load_selection(config),
        "class_names": lambda: CLASS_NAMES[config.dataset],
        "answerer": lambda: answerer_of(parameters, load_data(config)[0], truth().data),
    }
    return [made[name] if name in made else makers[name]() for name in asked]


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
    """What the paper says happens inside, measured; nothing where it has no such measure or a control ran.

    A measure gets what its signature asks for: `truth` is the poisoned set with its flags, `train` the training set
    before it was poisoned, `twin` the same network trained without an attack, `selected` what the choice of images has
    shown, `events` what the defense told on its way.
    """
    if not is_measured(paper, parameters):
        return {}
    measure, config = MECHANISMS[paper], VictimConfig.from_parameters(parameters)
    made = {
        "model": model,
        "defended": defended,
        "clean": clean,
        "test": test,
        "events": EventLog() if events is None else events,
    }
    return measure(*positional(measure, config, parameters, **made), **settings(measure, parameters))


def recorded(
    paper: str,
    parameters: dict[str, Any],
    before: Scores,
    after: Scores,
    seconds: float,
    measured: dict[str, float] | None = None,
    passes: Passes | None = None,
) -> Record:
    """The record of a finished run, with the published row that it answers and the facts of this machine.

    `passes` are those of the defense, as `count_passes` counts them; None where there was no defense.
    """
    facts: dict[str, Any] = runtime_facts() | {"seconds": round(seconds, 2)}
    facts["victim_threads"] = fact_of(victim_path(VictimConfig.from_parameters(parameters)), "threads")
    facts |= peak_memory()
    parameters = decisive(parameters)
    premises = broken_premises(before, after) if parameters["attack"] != "none" else []
    row = records.answers(paper, parameters)
    made_by = versions(paper, parameters)
    work = asdict(passes) if passes else {}
    return Record(paper, parameters, before, after, row, premises, facts, measured or {}, made_by, work)
