"""An answerer that knows the truth and errs at a stated rate: for closed forms and controls, never for evidence."""

from collections.abc import Sequence
from hashlib import sha256

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc.answerers.protocol import require_answerable
from bdlib.defenses.vdc.answerers.store import image_digest
from bdlib.defenses.vdc.questions import GENERAL, questions_for
from bdlib.types import Pixels
from bdlib.words import shown


class OracleAnswerer:
    """Answers from the true labels in `truth`, which must hold the very images that are asked about.

    Each answer is wrong with probability `error`, independently for each image and question, decided by `seed`: the
    same question about the same image always gets the same answer. A wrong name is any of the other classes. So VDC's
    rates have a closed form, `bdlib.mechanisms.vdc.expected_rates`.

    Example: `OracleAnswerer(truth, ("cat", "dog"), error=0.1)`
    """

    @checked
    def __init__(
        self, truth: ImageSet, class_names: Sequence[str], *, error: ranges.Fraction = 0.0, seed: ranges.Seed = 0
    ) -> None:
        if len(class_names) < 2 or int(truth.labels.max()) >= len(class_names):
            names = f"class_names={shown(class_names)}"
            raise ParameterError(
                f"{names}: must be two or more, and one for each label up to {int(truth.labels.max())}"
            )
        self.name = f"oracle, {100 * error:g} % wrong answers"
        self.error, self.seed, self.class_names = error, seed, class_names
        self.truth = dict(zip(map(image_digest, truth.images.cpu()), truth.labels.tolist(), strict=True))
        asked = questions_for(class_names, "specific")
        self.label_of = {question.text: label for label, questions in enumerate(asked) for question in questions}

    @checked
    def answer(self, images: Pixels, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """As `Answerer.answer`. Raises ParameterError for an image or a question that it does not know."""
        require_answerable(images, questions)
        digests = map(image_digest, images.cpu())
        return [[self._one(digest, text) for text in texts] for digest, texts in zip(digests, questions, strict=True)]

    def _one(self, digest: bytes, text: str) -> str:
        if digest not in self.truth:
            raise ParameterError("images: the oracle has no true label for one of them")
        true, draw = self.truth[digest], sha256(digest + text.encode() + str(self.seed).encode()).digest()
        uniform, other = (int.from_bytes(part, "big") for part in (draw[:8], draw[8:16]))
        is_wrong = uniform < self.error * 2**64
        if text in GENERAL:
            shift = 1 + other % (len(self.class_names) - 1) if is_wrong else 0
            return f"It shows: {self.class_names[(true + shift) % len(self.class_names)]}."
        if text not in self.label_of:
            raise ParameterError(f"questions: {shown(text)}: the oracle does not know this question")
        return "Yes." if (self.label_of[text] == true) != is_wrong else "No."
