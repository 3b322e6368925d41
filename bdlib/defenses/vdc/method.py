"""The versatile data cleanser. See the head of this folder (`bdlib.defenses.vdc`)."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc.answerers.protocol import Answerer, AnswererError
from bdlib.defenses.vdc.evaluation import Judge, agrees
from bdlib.defenses.vdc.questions import Chosen, Question, questions_for
from bdlib.training.loop import Schedule, train
from bdlib.types import MakeModel, OnEvent, ignore
from bdlib.words import shown

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers

Threshold = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Agreement = Bool[Tensor, "n q"]  # for each image and question, whether the answer agrees with the given label
CHUNK = 1000  # images that are put to the answerer together


@checked
def vdc(
    make_model: MakeModel,
    poisoned: ImageSet,
    class_names: Sequence[str],
    answerer: Answerer,
    *,
    questions: Chosen = "both",
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5,  # theta: dirty if at most this share of answers agrees
    epochs: ranges.CountOrZero = 100,  # released code, as all below; paper not seen
    learning_rate: ranges.LearningRate = 0.1,
    anneal: Literal["constant", "cosine", "one_cycle"] = "cosine",  # released: a tenth from epochs 30 and 60 on
    batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A network trained from scratch on those of the `poisoned` images whose labels the answers confirm.

    Example::

        cleansed = vdc(make_model, poisoned, CLASS_NAMES["cifar10"], RecognizerAnswerer(), epochs=16)

    `class_names` are the words behind the labels, `answerer` whoever looks at the images. Neither learns anything from
    `poisoned`. `on_event` is told "agreement", for each image and question whether the answer agrees with the label,
    and "kept", which images are trained on. Raises ParameterError for a keyword out of range, for labels without a
    class name, and where fewer than two images are kept; what the answerer raises passes through.
    """
    agreement = cross_examine(poisoned, class_names, answerer, questions=questions)
    on_event("agreement", agreement)
    kept = ~dirty(agreement, threshold=threshold).to(poisoned.labels.device)
    on_event("kept", kept)
    if kept.sum() < 2:
        raise ParameterError(f"threshold={threshold!r}: keeps {int(kept.sum())} of {len(poisoned)} images to train on")
    schedule = Schedule(
        epochs, learning_rate, anneal=anneal, batch_size=batch_size, augmentation=augmentation, seed=seed
    )
    return train(make_model(), poisoned[kept], schedule)


@checked
def cross_examine(
    data: ImageSet, class_names: Sequence[str], answerer: Answerer, *, questions: Chosen = "both",
    asked: Sequence[tuple[Question, ...]] | None = None, judge: Judge | None = None,
) -> Agreement:  # fmt: skip
    """Ask every image the questions about its given label; for each answer, whether it agrees with that label.

    `asked` takes the place of the questions from questions.yaml: as many for each class. `judge` is a language model
    that decides about general answers in which no word of the label occurs. Raises ParameterError.

    Example: `cross_examine(train, CLASS_NAMES["cifar10"], RecognizerAnswerer()).float().mean(1)`
    """
    by_label = questions_for(class_names, questions) if asked is None else asked
    if len(by_label) < len(class_names) or len({len(its) for its in by_label}) != 1 or not by_label[0]:
        raise ParameterError(
            f"asked: must have as many questions, one at least, for each of {len(class_names)} classes"
        )
    if isinstance(answerer, type):
        raise ParameterError(f"answerer={shown(answerer)}: must be an Answerer; the class is there, without ()")
    rows = list[list[bool]]()
    agree = cache(partial(agrees, judge=judge))  # most answers come many times
    if not len(data):
        raise ParameterError("data: the set of images is empty")
    if int(data.labels.max()) >= len(class_names):
        raise ParameterError(f"class_names: {len(class_names)} names, but there is a label {int(data.labels.max())}")
    for ids in torch.arange(len(data)).split(CHUNK):
        about = [by_label[label] for label in data.labels[ids.to(data.labels.device)].tolist()]
        texts = [[question.text for question in its] for its in about]
        answers = answerer.answer(data.images[ids.to(data.images.device)], texts)
        _require_answers(answerer.name, answers, texts)
        rows += [[agree(q, a) for q, a in zip(*pair, strict=True)] for pair in zip(about, answers, strict=True)]
    return torch.tensor(rows)


def _require_answers(name: str, answers: Any, texts: list[list[str]]) -> None:
    """Raise AnswererError for anything but one text for each question."""
    if not isinstance(answers, list) or not all(isinstance(its, list | tuple) for its in answers):
        raise AnswererError(f"{name}: must give a list of answers for each image")
    if [len(its) for its in answers] != [len(its) for its in texts]:
        raise AnswererError(f"{name}: must give one answer to each question")
    if other := [text for its in answers for text in its if not isinstance(text, str)]:
        raise AnswererError(f"{name}: must answer in text, not {shown(other[0])}")


def suspicion(agreement: Agreement) -> Float[Tensor, " n"]:
    """The share of an image's answers that disagree with its label, in [0, 1]: what VDC returns for each image."""
    return 1 - agreement.double().mean(1)


@checked
def dirty(agreement: Agreement, *, threshold: Threshold = 0.5) -> Bool[Tensor, " n"]:
    """Which images are dirty: those of which at most a share `threshold` of the answers agrees.

    A tie counts as dirty, for every image: one rule for all. At -1 no image is dirty, at 1 all are.

    Example: `dirty(torch.tensor([[True, False], [True, True]]))` is [True, False]
    """
    return agreement.sum(1) <= threshold * agreement.shape[1] + 1e-9
