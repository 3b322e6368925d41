"""What VDC asks of whoever answers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bdlib.types import Pixels
from bdlib.words import OneLineError


class AnswererError(OneLineError, RuntimeError):
    """Questions could not be answered. The message is one line; answers that had come are kept if there is a cache."""


@runtime_checkable
class Answerer(Protocol):
    """Answers questions about images in words. It is given no labels: the question's text is all that it knows."""

    name: str  # what figures and tables call it

    def answer(self, images: Pixels, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """The answers to each image's questions, in their order; `questions` has one list for each image."""
        ...
