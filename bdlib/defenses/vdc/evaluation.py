"""VDC's third stage: whether an answer agrees with the label, by whole words."""

import re
from collections.abc import Callable
from typing import TypeAlias

from bdlib.defenses.vdc.questions import Question

Judge: TypeAlias = Callable[[str], str]  # a language model: the answer to a text
DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))
NEGATED = r"\b(?:no|not|without|isn't|never)\s+(?:(?:an?|any|the)\s+)?[\w-]+"
JUDGE_PROMPT = (
    'A picture was described as: "{answer}". Is this a description of {name}? Answer yes or no, and nothing else.'
)


def agrees(question: Question, answer: str, judge: Judge | None = None) -> bool:
    """Whether `answer` is the one that the question's label calls for.

    A specific answer agrees if its first word of yes, no and not is yes. A general one agrees if it holds one of the
    expected words that is not negated, or else if the `judge` says so. "I do not know" never agrees.

    Example: `agrees(questions_about("cat")[0], "A kitten on a sofa.")` is True
    """
    text = spelled(answer)
    if question.kind == "specific":
        verdict = re.search(r"\b(yes|no|not|don't)\b", text)
        return verdict is not None and verdict[1] == "yes"
    affirmed = re.sub(NEGATED, " ", text)
    if any(
        re.search(rf"(?<![\w-]){re.escape(spelled(word).strip())}(?![\w-])", affirmed) for word in question.expected
    ):
        return True
    prompt = JUDGE_PROMPT.format(answer=answer, name=question.expected[0])
    return judge is not None and agrees(Question(prompt, "specific", ("yes",)), judge(prompt))


def spelled(text: str) -> str:
    """The text in small letters, with each digit as a word of its own."""
    return "".join(f" {DIGITS[c]} " if c in DIGITS else c for c in text.lower().replace("’", "'"))
