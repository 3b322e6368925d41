"""A stranger's attack: its trigger stays in its own process, its victim is trained here, the book's defenses run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bdlib.attacks import ATTACKS
from bdlib.attacks.attack import Attack
from bdlib.checks import ParameterError
from bdlib.data.datasets import DATASETS
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.records import Record
from bdlib.experiments.victims import evaluate_victim, load_data, trained_victim
from bdlib.submissions.limits import Limits, SubmissionError
from bdlib.submissions.ours import run_ours
from bdlib.submissions.outcome import saved
from bdlib.submissions.process import Session, isolated
from bdlib.submissions.source import Source
from bdlib.submissions.victims import Place, cost
from bdlib.words import shown

Say = Callable[[str], None]
CHUNK = 1000  # images that are sent at a time


class RemoteTrigger:
    """A trigger that is in another process: images go there, and come back with it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.failure: SubmissionError | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """The images with the trigger. Raises SubmissionError, which it keeps: the library says it otherwise."""
        try:
            parts = [self._ask(part) for part in images.cpu().split(CHUNK)]
        except SubmissionError as error:
            self.failure = error
            raise
        return torch.cat(parts).to(images.device) if parts else images

    def _ask(self, images: Tensor) -> Tensor:
        pixels = images.mul(255).round().clamp(0, 255).byte()
        self.session.send({"is": "ask"}, {"images": pixels}, most=4 * images.numel() + 10_000)
        seconds, doing = self.session.limits.answer_seconds, f"the trigger on {len(images):,} images"
        answer = self.session.receive(("answer",), seconds, doing).tensors.get("answer")
        if answer is None or answer.shape != images.shape or answer.dtype != torch.float32:
            raise SubmissionError(f"its trigger must return images of shape {tuple(images.shape)}, not {shown(answer)}")
        return answer


@contextmanager
def attack_of(source: Source, dataset: str, limits: Limits, show: Say, forbidden: tuple[str, ...]) -> Iterator[str]:
    """Inside the block the stranger's attack is in ATTACKS; gives its name there.

    The name holds a digest of the file, so that no victim of another one is taken for its own. Raises SubmissionError.
    """
    job = {"path": str(source.path), "function": source.function, "kind": "attack",
           "channels": DATASETS[dataset].channels}  # fmt: skip
    with isolated(job, {}, limits, show, forbidden) as session:
        facts = session.receive(("done",), limits.seconds, source.function).facts
        trigger = RemoteTrigger(session)
        version = int(source.sha256[:7], 16) + 1
        attack = Attack(NUMBERS_VERSION=version, trigger=trigger, clean_label=bool(facts["clean_label"]),
                        cover_ratio=float(facts["cover_ratio"]))  # fmt: skip
        name = f"{source.name}_{source.sha256[:6]}"
        ATTACKS[name] = attack
        try:
            yield name
        except ParameterError as error:  # as the library names a trigger that fails
            raise trigger.failure or error from None
        finally:
            del ATTACKS[name]


def evaluate_attack(
    source: Source, place: Place, seeds: Sequence[int], against: Sequence[str], *, limits: Limits, say: Say, show: Say
) -> tuple[list[Record], list[str]]:
    """Train a victim for each seed and defend it by each of `against`; returns records and failures.

    Raises ParameterError for an attack that does not fit the images.

    Example: `evaluate_attack(read_source("a.py:trigger"), place_of("fashion"), [0], ["nad"], limits=Limits(), ...)`
    """
    records: list[Record] = []
    try:
        forbidden = (place.folder,) if place.folder else ()
        with attack_of(source, place.dataset, limits, show, forbidden) as name:
            configs = place.configs([name], seeds)
            say(cost(configs))
            for config in configs:
                records += _defended(config, place, against, say)
    except SubmissionError as error:
        failure = f"{source.name}: FAILED: {error}"
        say(failure)
        return records, [failure]
    return records, []


def _defended(config: VictimConfig, place: Place, against: Sequence[str], say: Say) -> list[Record]:
    """The records of each defense on one victim."""
    say(f"seed {config.seed}: the victim is trained")
    model, test = trained_victim(config, progress=True), load_data(config)[1]
    before = evaluate_victim(config, model, test)
    say(f"  victim: ACC {before.clean_accuracy:.1%}, ASR {before.asr:.1%}")
    records = []
    for key in against:
        record = run_ours(key, config, place.profile, place.clean_fraction, model, before, test)
        records.append(record)
        assert record.after
        path = saved(record, place.profile)
        say(f"  {key}: ACC {record.after.clean_accuracy:.1%}, ASR {record.after.asr:.1%}; record: {path}")
    return records
