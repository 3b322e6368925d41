"""Small runs whose numbers a change that only moves or renames code must leave alone.

    python tests/golden_cases.py --write                  # all cases anew into tests/golden.json: numbers were changed
    python tests/golden_cases.py --write defense/nad      # only those whose names begin so

A case's name stays when what it calls is renamed: only this file is then adapted. All that the golden file has to know
of the library is here.
"""

import argparse
import contextlib
import functools
import hashlib
import inspect
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import golden_file
import torch
from golden_file import Result
from test_promises import CLASSES, FAST
from torch import Tensor, nn
from toy_task import STATISTICS, toy  # says first that bdlib takes one thread

from bdlib import runtime
from bdlib.attacks import ATTACKS, SELECTIONS
from bdlib.attacks.badnets import BadNets
from bdlib.attacks.poisoning import Poisoned, poison
from bdlib.attacks.selection import ranking
from bdlib.data.images import ImageSet
from bdlib.defenses import DEFENSES
from bdlib.defenses.nwc import unlearn
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.evaluation import metrics
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.metrics import Scores, evaluate
from bdlib.experiments import notebooks, victims
from bdlib.experiments import run as experiments
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.experiments.versions import module_of, victim_versions
from bdlib.experiments.victims import (
    VictimConfig,
    evaluate_victim,
    load_data,
    load_selection,
    load_trigger,
    poisoned_set,
    trained_victim,
)
from bdlib.models import seeded, small_resnet
from bdlib.training.loop import Schedule, train
from bdlib.training.sam import SharpnessAware
from bdlib.types import EventLog

TINY = dict(dataset="fashion", data_fraction=0.05, victim_epochs=1, seed=3)


def machine() -> dict[str, str]:
    """What the last bits of a result depend on, beside the code."""
    threads = str(torch.get_num_threads())
    return {"processor": runtime.processor(), "torch": torch.__version__, "threads": threads}


# Results


def digest(tensors: dict[str, Tensor]) -> str:
    """Of every bit of the tensors, in the order of their names; the names themselves may change."""
    found = hashlib.sha256()
    for _, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        found.update(f"{values.dtype} {tuple(values.shape)}".encode())
        found.update(values.numpy().tobytes())
    return found.hexdigest()


def shares(scores: Scores) -> dict[str, float]:
    """Clean accuracy, attack success rate and robust accuracy."""
    return {"ACC": scores.clean_accuracy, "ASR": scores.asr, "RA": scores.robust_accuracy}


def of_record(record: dict[str, Any]) -> Result:
    """Every number of a record: the scores before and after, and what was measured inside."""
    parts = ("before", "after", "measured")
    numbers = {f"{part}.{name}": value for part in parts for name, value in (record[part] or {}).items()}
    exact = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()
    return {"exact": exact, "numbers": numbers, "versions": record["versions"]}


@functools.cache
def cache() -> tempfile.TemporaryDirectory[str]:
    """A folder that the cases of this process share in place of the real cache, and leave when it ends."""
    return tempfile.TemporaryDirectory(prefix="golden-")


@contextlib.contextmanager
def apart():
    """Nothing is read from the real cache; that a small run breaks a premise is no news.

    SSBA's encoder is trained for about half of its steps, which would take half a minute, and still reads 99 % of bits.
    """
    short = {"ssba": replace(ATTACKS["ssba"], steps=220)}  # type: ignore[call-arg]
    cached, shortened = mock.patch.object(victims, "CACHE", Path(cache().name)), mock.patch.dict(ATTACKS, short)
    with cached, shortened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# The toy task of the other tests


@functools.cache
def clean() -> ImageSet:
    return toy(200, seed=1)


@functools.cache
def test_images() -> ImageSet:
    return toy(400, seed=2)


@functools.cache
def poisoned() -> Poisoned:
    return poison(toy(1000, seed=0), BadNets(size=3), target_label=0, poison_rate=0.1, seed=0)


def make_model() -> nn.Module:
    return seeded(lambda: small_resnet(3, 4, *STATISTICS), seed=0)


@functools.cache
def backdoored() -> nn.Module:
    return train(make_model(), poisoned().data, Schedule(4, 0.05, batch_size=64, augmentation=None))


def of_toy(model: nn.Module, methods: dict[str, str], **numbers: float) -> Result:
    """The weights of a model of the toy task, its scores, and the versions of the defenses that made it, by part."""
    scores = evaluate(model, test_images(), BadNets(size=3), target_label=0)
    versions = {part: module_of(DEFENSES[key]).NUMBERS_VERSION for part, key in methods.items()}
    versions |= victim_versions(VictimConfig(attack="badnets")) | {"metrics": metrics.NUMBERS_VERSION}
    return {"exact": digest(model.state_dict()), "numbers": shares(scores) | numbers, "versions": versions}


# Defences

BRANCHES: dict[str, dict[str, Any]] = {
    "ar, l1": dict(regularizer="l1"),
    "ar, l2": dict(regularizer="l2", alpha=0.01),
    "ar, l2 matched": dict(regularizer="l2_matched"),
    "ar, top": dict(select="top"),
    "ar, bottom by size": dict(select="bottom_abs"),
    "abl, flooding": dict(threshold_rule="flooding"),
    "abl, no floor": dict(threshold_rule="none"),
    "abl, random isolation": dict(isolation="random"),
    "abl, stopped early": dict(stop_accuracy=1.0, unlearning_epochs=3, unlearning_rate=0.01),
    "pdb, no key": dict(defensive_trigger="none"),
    "pdb, corner key": dict(defensive_trigger="corner", defensive_trigger_size=3),
    "pdb, still key": dict(defensive_trigger_moves=False, augmentation=1),
    "pdb, padded": dict(augmentation=1, epochs=6),
    "rnp, padded": dict(augmentation=1),
    "anp, padded": dict(augmentation=1),
    "anp, threshold by drop": dict(mask_threshold=None),
    "nad, fourth power": dict(power=4.0),
    "sau, adversarial training": dict(lambda_2=0.5),
    "sau, batch statistics": dict(train_mode=True),
    "ft_sam, not adaptive": dict(adaptive=False),
    "ft_sam, smoothed labels": dict(label_smoothing=0.1),
    "nwc, not uphill": dict(alpha=0.0),
    "nwc, nothing emptied": dict(neuron_ratio=0.0),
}


def defense(key: str, /, **changes: Any) -> Result:
    """The toy task's victim repaired, or a network trained on its poisoned set, as the other tests do."""
    function = DEFENSES[key]
    there = {"clean": clean(), "make_model": make_model, "poisoned": poisoned().data, "class_names": CLASSES}
    there["answerer"] = OracleAnswerer(ImageSet(poisoned().data.images, toy(1000, seed=0).labels), CLASSES)
    asked = [p.name for p in inspect.signature(function).parameters.values() if p.kind != p.KEYWORD_ONLY]
    given = [backdoored() if name == "model" else there[name] for name in asked]
    return of_toy(function(*given, **FAST[key] | changes), {"defense": key})


def defenses() -> dict[str, Callable[[], Result]]:
    """Every defence, with the released code's differences where it has them, and other choices that change numbers."""
    released = [key for key in DEFENSES if "variant" in inspect.signature(DEFENSES[key]).parameters]
    settings: dict[str, dict[str, Any]] = {key: {} for key in DEFENSES}
    settings |= {f"{key}, released": dict(variant="released") for key in released} | BRANCHES
    return {name: functools.partial(defense, name.split(",")[0], **how) for name, how in settings.items()}


# Training

TRAININGS: dict[str, dict[str, Any]] = {
    "constant": dict(anneal="constant"),
    "cosine": dict(anneal="cosine"),
    "one cycle": dict(anneal="one_cycle"),
    "milestones": dict(anneal="constant", milestones=(1, 2), epochs=3),
    "padded": dict(augmentation=2),
    "nesterov": dict(nesterov=True),
    "other batches": dict(batch_size=48, momentum=0.5, weight_decay=0.0, seed=7),
}
SHARPNESS: dict[str, dict[str, Any]] = {
    "sharpness": dict(rho=0.1),
    "sharpness, adaptive": dict(rho=0.5, adaptive=True),
    "sharpness, per tensor": dict(rho=0.05, per_tensor=True),
    "sharpness, mixed": dict(rho=0.05, per_tensor=True, mix=0.7),
}


def training(**changes: Any) -> Result:
    """Two epochs on the toy task's poisoned set."""
    losses: list[float] = []
    schedule = Schedule(**{"epochs": 2, "learning_rate": 0.05, "batch_size": 64, "augmentation": None} | changes)
    model = train(make_model(), poisoned().data, schedule, on_event=lambda _, epoch: losses.append(epoch.mean_loss))
    return of_toy(model, {}, loss=losses[-1])


def sharpness(**options: Any) -> Result:
    """Two epochs on the toy task's clean set, every step taken by the gradient found uphill."""
    model, losses = make_model(), list[float]()
    schedule = Schedule(2, 0.05, batch_size=32, augmentation=None)
    optimizer = SharpnessAware(model, schedule.sgd(model.parameters()), **options)
    train(model, clean(), schedule, optimizer=optimizer, on_event=lambda _, epoch: losses.append(epoch.mean_loss))
    return of_toy(model, {"ft_sam": "ft_sam", "nwc": "nwc"}, loss=losses[-1])


def unlearning() -> Result:
    """The toy task's victim after it has unlearned the clean images."""
    schedule = Schedule(50, 1e-3, anneal="constant", batch_size=32, augmentation=None, seed_per_epoch=True)
    events = EventLog()
    model = unlearn(backdoored(), clean(), schedule, stop_accuracy=0.3, on_event=events)
    return of_toy(model, {"nwc": "nwc"}, epochs=float(events.counts["unlearning_epoch"]))


def trainings() -> dict[str, Callable[[], Result]]:
    """Every choice of the schedule, sharpness-aware steps, and unlearning."""
    plain = {name: functools.partial(training, **how) for name, how in TRAININGS.items()}
    uphill = {name: functools.partial(sharpness, **how) for name, how in SHARPNESS.items()}
    return plain | uphill | {"unlearn": unlearning}


# Attacks


def attack(key: str, /, **changes: Any) -> Result:
    """A small victim, by the way that all runs take: its poisoned set, its trigger, its weights and its scores."""
    with apart():
        config = VictimConfig(attack=key, poison_rate=0.5 if ATTACKS[key].clean_label else 0.1, **TINY | changes)
        test, model, made = load_data(config)[1], trained_victim(config), poisoned_set(config)
        tensors = {f"victim.{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {"images": made.data.images, "labels": made.data.labels, "flags": made.is_poisoned}
        tensors |= {"triggered": apply_trigger(test.images[:50], load_trigger(config))}
        pixel = made.data.images.double().mean().item() / 255
        numbers = shares(evaluate_victim(config, model, test)) | {"mean pixel": pixel}
        versions = victim_versions(config) | {"metrics": metrics.NUMBERS_VERSION}
        return {"exact": digest(tensors), "numbers": numbers, "versions": versions}


def attacks() -> dict[str, Callable[[], Result]]:
    """Every attack; all to all where labels move; and without cover_samples where training is steered."""
    settings: dict[str, dict[str, Any]] = {key: {} for key in ATTACKS}
    moving = [key for key in ATTACKS if ATTACKS[key].poisons and not ATTACKS[key].clean_label]
    settings |= {f"{key}, all to all": dict(label_map="all_to_all") for key in moving}
    settings |= {
        f"{key}, no companions": dict(cover_samples=False) for key in ATTACKS if ATTACKS[key].training_controlled
    }
    return {name: functools.partial(attack, name.split(",")[0], **how) for name, how in settings.items()}


def selection(key: str) -> Result:
    """The images that are chosen to be poisoned, and what is shown of the choice."""
    with apart():
        small = dict(attack="blended", poison_rate=0.02, rounds=2, iterations=1, iteration_epochs=2)
        config = VictimConfig(selection=key, **small | TINY)
        selected = load_selection(config)
        numbers = {f"mean {name}": tensor.double().mean().item() for name, tensor in selected.items()}
        versions = {"selection": module_of(SELECTIONS[key]).NUMBERS_VERSION, "ranking": ranking.NUMBERS_VERSION}
        return {"exact": digest(selected), "numbers": numbers, "versions": versions | victim_versions(config)}


# Records


def record(paper: str, /, **changes: Any) -> Result:
    """The record of a chapter's smoke run, made without the notebook."""
    with apart():
        made = experiments.run(paper, notebooks.parameters(paper, "smoke") | changes)
    return of_record(asdict(made))


def records() -> dict[str, Callable[[], Result]]:
    """Every chapter, with its clean twin, and the control where it has one."""
    papers = notebooks.papers()
    parameters = {paper: notebooks.parameters(paper, "smoke") for paper in papers}
    controlled = [p for p in papers if {"defense", "epochs", "milestone"} <= parameters[p].keys()]
    settings: dict[str, dict[str, Any]] = {paper: {} for paper in papers}
    settings |= {f"{paper}, clean twin": dict(attack="none") for paper in papers if paper not in WITHOUT_VICTIM}
    settings |= {f"{paper}, fine-tuning": dict(defense="fine_tune") for paper in controlled}
    return {name: functools.partial(record, name.split(",")[0], **how) for name, how in settings.items()}


KINDS = {
    "defense": defenses(),
    "training": trainings(),
    "attack": attacks(),
    "selection": {key: functools.partial(selection, key) for key in SELECTIONS},
    "record": records(),
}
CASES: dict[str, Callable[[], Result]]
CASES = {f"{kind}/{name}": case for kind, cases in KINDS.items() for name, case in cases.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="run the cases, and write the golden file")
    parser.add_argument("beginning", nargs="?", default="", help="of the names of the cases meant; none: all of them")
    options = parser.parse_args()
    meant = [name for name in CASES if name.startswith(options.beginning)]
    if not options.write:
        print("\n".join(meant))
        return
    kept = golden_file.read() if options.beginning else {"made_on": machine(), "cases": {}}
    if kept["made_on"] != machine():
        parser.error(f"the other cases were made on {kept['made_on']}, this is {machine()}: write all of them")
    for name in meant:
        print(name, flush=True)
        kept["cases"][name] = CASES[name]()
    golden_file.write(machine(), {name: case for name, case in kept["cases"].items() if name in CASES})


if __name__ == "__main__":
    main()
