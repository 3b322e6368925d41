"""A stranger's defense on the book's victims: one process for each victim, scored here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from bdlib.data.images import ImageSet
from bdlib.evaluation.metrics import Scores
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.records import Record
from bdlib.experiments.run import reserved
from bdlib.experiments.victims import evaluate_victim, load_data, load_trigger, poisoned_set, trained_victim
from bdlib.submissions.limits import Limits, SubmissionError
from bdlib.submissions.outcome import recorded, saved
from bdlib.submissions.predictions import scores_from
from bdlib.submissions.process import Session, isolated
from bdlib.submissions.source import Source

Say = Callable[[str], None]


def evaluate_defense(
    source: Source, configs: Sequence[VictimConfig], *, clean_fraction: float, keywords: Mapping[str, Any], folder: str,
    limits: Limits, say: Say, show: Say, forbidden: tuple[str, ...] = (),
) -> tuple[list[Record], list[str]]:  # fmt: skip
    """Run the defense on each victim; returns the records, which are written as they are made, and the failures.

    A failure is a line that names the victim and what happened; the other victims go on. `say` is told a line for each
    victim, `show` what the stranger's code prints. Raises ParameterError for a victim that cannot be.

    Example: `evaluate_defense(read_source("a.py:purify"), [VictimConfig()], clean_fraction=0.05, ...)`
    """
    records, failures = [], []
    for config in configs:
        try:
            record = _one(source, config, clean_fraction, keywords, limits, say, show, forbidden)
        except SubmissionError as error:
            failures.append(f"{config.attack}, seed {config.seed}: FAILED: {error}")
            say(failures[-1])
            continue
        records.append(record)
        path = saved(record, folder)
        say(f"{_outcome(record)}; record: {path}")
    return records, failures


def _one(
    source: Source, config: VictimConfig, clean_fraction: float, keywords: Mapping[str, Any], limits: Limits,
    say: Say, show: Say, forbidden: tuple[str, ...],
) -> Record:  # fmt: skip
    say(f"{config.attack}, seed {config.seed}: {source.name} runs")
    job, tensors = _job(source, config, clean_fraction, keywords)
    with isolated(job, tensors, limits, show, forbidden) as session:
        told = session.receive(("done",), limits.seconds, source.function).facts
        after = _scores(session, config)
        peak = session.peak_bytes
    for name in told.get("written", []):
        say(f"  Caution: it changes its input, {name}; in the library that is an error")
    before = evaluate_victim(config, trained_victim(config), load_data(config)[1])
    facts = job["keywords"]
    return recorded(source, config, before, after, told, clean_fraction=clean_fraction, defense=source.name,
                    keywords={name: facts[name] for name in facts if name != "seed"}, peak_bytes=peak)  # fmt: skip


def _scores(session: Session, config: VictimConfig) -> Scores:
    test, trigger = load_data(config)[1], load_trigger(config)
    classes = config.facts.num_classes
    return scores_from(session, test, trigger, config.relabel, classes=classes, seed=config.seed)


def _job(
    source: Source, config: VictimConfig, clean_fraction: float, keywords: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the process is handed: facts of the network, and the tensors that the arguments of the function ask for."""
    facts = config.facts
    known = {"seed": config.seed, "augmentation": facts.augmentation} | dict(keywords)
    job = {"path": str(source.path), "function": source.function, "kind": source.kind, "model": config.model,
           "channels": facts.channels, "num_classes": facts.num_classes, "mean": facts.mean, "std": facts.std,
           "seed": config.seed, "arguments": source.arguments,
           "keywords": {name: known[name] for name in source.keywords if name in known}}  # fmt: skip
    tensors: dict[str, Tensor] = {}
    if "model" in source.arguments:
        weights = trained_victim(config, progress=True).state_dict()
        tensors |= {f"model.{name}": tensor for name, tensor in weights.items()}
    sets = _sets(source, config, clean_fraction)
    for name, data in sets.items():
        tensors |= {f"{name}.images": data.images, f"{name}.labels": data.labels}
    return job | {"sets": [*sets]}, tensors


def _sets(source: Source, config: VictimConfig, clean_fraction: float) -> dict[str, ImageSet]:
    """The sets that the function asks for; a defense that asks for both gets disjoint ones."""
    clean, rest = reserved(config, {"clean_fraction": clean_fraction, "seed": config.seed})
    sets = {"clean": clean} if "clean" in source.arguments else {}
    if "poisoned" in source.arguments:
        sets["poisoned"] = poisoned_set(config, rest if sets else None).data
    return sets


def _outcome(record: Record) -> str:
    before, after = record.before, record.after
    assert before and after
    parts = [
        f"ACC {before.clean_accuracy:.1%} -> {after.clean_accuracy:.1%}",
        f"ASR {before.asr:.1%} -> {after.asr:.1%}",
    ]
    parts += [f"{record.passes['forward']:,} forward and {record.passes['backward']:,} backward passes"]
    return "  " + ", ".join([*parts, f"{record.runtime['seconds']:.0f} s"])
