"""Scores of a network that is in another process: it is asked for the logits of all test images, and told no label."""

import torch
from torch import Generator, Tensor

from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import attacked_set
from bdlib.evaluation.metrics import Scores, scores_of_guesses
from bdlib.submissions.limits import SubmissionError
from bdlib.submissions.process import Session
from bdlib.types import Relabel, Trigger
from bdlib.words import shown


def scores_from(
    session: Session, test: ImageSet, trigger: Trigger, relabel: Relabel, *, classes: int, seed: int
) -> Scores:
    """As `bdlib.evaluation.metrics.evaluate_attack`, of the network in `session`.

    Clean and triggered images are shuffled together and sent without labels, so that their order tells nothing. Raises
    SubmissionError for an answer that is no finite logits, one row for each image and one column for each class.
    """
    attacked = attacked_set(test, trigger, relabel)
    images = torch.cat([test.images, attacked.triggered.images]).cpu()
    order = torch.randperm(len(images), generator=Generator().manual_seed(seed))
    logits = _logits(session, images[order], classes)
    guesses = torch.empty(len(images), dtype=torch.int64)
    guesses[order] = logits.argmax(1)
    guesses = guesses.to(test.labels.device)
    return scores_of_guesses(test, attacked, relabel, guesses[: len(test)], guesses[len(test) :])


def _logits(session: Session, images: Tensor, classes: int) -> Tensor:
    shape = (len(images), classes)
    session.send({"is": "ask"}, {"images": images}, most=4 * len(images) * classes + 10_000)
    seconds = session.limits.answer_seconds
    logits = session.receive(("answer",), seconds, f"the prediction of {len(images):,} images").tensors.get("answer")
    if logits is None or logits.shape != shape or logits.dtype != torch.float32:
        raise SubmissionError(f"its network must give logits of shape {shape}, not {shown(logits)}")
    if broken := int((~logits.isfinite()).any(1).sum()):
        raise SubmissionError(f"its network gives logits that are not finite for {broken:,} of {len(images):,} images")
    return logits
