"""A stranger's network: trained and repaired in its own process, on poisoned images that come without flags."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from inspect import signature
from typing import Any

from bdlib.checks import ParameterError
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.records import Record
from bdlib.experiments.run import reserved
from bdlib.experiments.victims import load_data, load_trigger, poisoned_set
from bdlib.submissions.limits import Limits, SubmissionError
from bdlib.submissions.ours import keywords_of
from bdlib.submissions.outcome import recorded, saved
from bdlib.submissions.predictions import scores_from
from bdlib.submissions.process import Session, isolated
from bdlib.submissions.source import Source
from bdlib.submissions.victims import Place

Say = Callable[[str], None]


def evaluate_network(
    source: Source, place: Place, attacks: Sequence[str], seeds: Sequence[int], against: Sequence[str], *,
    limits: Limits, say: Say, show: Say,
) -> tuple[list[Record], list[str]]:  # fmt: skip
    """Train a victim of the network for each attack and seed, and repair it by each of `against`.

    A defense that the network lacks something for is a line that says what; so is a failure, and the rest goes on.
    Returns records and failures. Raises ParameterError for an attack that controls the training.

    Example: `evaluate_network(read_source("a.py:make"), place_of("fashion"), ["badnets"], [0], ["fine_tune"], ...)`
    """
    configs = place.configs(attacks, seeds)
    for config in configs:
        if config.attack_object.training_controlled:
            raise ParameterError(f"attack={config.attack!r}: must be one that poisons a stored set of images")
    for key in against:
        if [*signature(DEFENSES[key]).parameters][:2] != ["model", "clean"]:
            raise ParameterError(f"against={key!r}: must be a defense that repairs a network")
    say(f"Victims: {len(configs)}; each is trained in its process for {configs[0].victim_epochs} epochs.")
    records: list[Record] = []
    failures = []
    for config in configs:
        try:
            records += _one(source, config, place, against, limits, say, show)
        except SubmissionError as error:
            failures.append(f"{config.attack}, seed {config.seed}: FAILED: {error}")
            say(failures[-1])
    return records, failures


def _one(
    source: Source, config: VictimConfig, place: Place, against: Sequence[str], limits: Limits, say: Say, show: Say
) -> list[Record]:
    clean = reserved(config, {"clean_fraction": place.clean_fraction, "seed": config.seed})[0]
    poisoned = poisoned_set(config).data
    tensors = {"poisoned.images": poisoned.images, "poisoned.labels": poisoned.labels,
               "clean.images": clean.images, "clean.labels": clean.labels}  # fmt: skip
    job = {"path": str(source.path), "function": source.function, "kind": "network", "data": asdict(config.facts),
           "schedule": asdict(config.schedule), "seed": config.seed}  # fmt: skip
    say(f"{config.attack}, seed {config.seed}: {source.name} is trained")
    named = f"{source.name}_{source.sha256[:6]}"
    records = []
    with isolated(job, tensors, limits, show, (place.folder,) if place.folder else ()) as session:
        told = session.receive(("done",), limits.seconds, source.function, tell=lambda words: say(f"  {words}")).facts
        before = _scores(session, config)
        say(f"  victim: ACC {before.clean_accuracy:.1%}, ASR {before.asr:.1%}, {told['weights']:,} weights")
        for key in against:
            if (done := _repaired(session, key, config, place, limits, say)) is None:
                continue
            after = _scores(session, config)
            record = recorded(source, config, before, after, done, clean_fraction=place.clean_fraction, defense=key,
                              model=named, peak_bytes=session.peak_bytes)  # fmt: skip
            records.append(record)
            path = saved(record, place.profile)
            say(f"  {key}: ACC {after.clean_accuracy:.1%}, ASR {after.asr:.1%}; record: {path}")
    return records


def _repaired(
    session: Session, key: str, config: VictimConfig, place: Place, limits: Limits, say: Say
) -> dict[str, Any] | None:
    """What the process told of a repair; None, and a line, where the network lacks what the defense needs."""
    keywords = dict(keywords_of(key, config, place.profile))
    session.send({"is": "defend", "defense": key, "keywords": keywords})
    answer = session.receive(("done", "misfit"), limits.seconds, key).facts
    if answer["is"] == "misfit":
        say(f"  {key} does not apply: {str(answer.get('why'))[:200]}")
        return None
    return answer


def _scores(session: Session, config: VictimConfig) -> Scores:
    test, trigger = load_data(config)[1], load_trigger(config)
    return scores_from(session, test, trigger, config.relabel, classes=config.facts.num_classes, seed=config.seed)
