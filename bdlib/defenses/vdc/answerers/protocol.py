"""What VDC asks of whoever answers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bdlib.checks import ParameterError
from bdlib.types import Pixels
from bdlib.words import OneLineError, has_words, shown


class AnswererError(OneLineError, RuntimeError):
    """Questions could not be answered. The message is one line; answers that had come are kept if there is a cache."""


@runtime_checkable
class Answerer(Protocol):
    """Answers questions about images in words. It is given no labels: the question's text is all that it knows."""

    name: str  # what figures and tables call it

    def answer(self, images: Pixels, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """The answers to each image's questions, in their order; `questions` has one list for each image."""
        ...


def require_answerable(images: Pixels, questions: Sequence[Sequence[str]]) -> None:
    """Raise ParameterError unless all images have pixels that can be seen and each has a list of questions of its own.

    Example: `require_answerable(images, [[GENERAL[0]]] * len(images))`
    """
    if len(images) and (images.shape[1] not in (1, 3) or not images.numel()):
        raise ParameterError(f"images={shown(images)}: must have one or three channels, and pixels")
    if len(questions) != len(images):
        raise ParameterError(f"questions: must be {len(images)} lists, one for each image, not {len(questions)}")
    for text in {text for texts in questions for text in texts}:
        if not has_words(text):
            raise ParameterError(f"questions: {shown(text)}: must be text with a word in it")
