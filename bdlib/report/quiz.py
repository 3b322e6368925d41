"""A chapter's quiz: the questions of notebooks/quiz/<key>.yaml as a form that needs neither a script nor a network.

Every question has one right answer and two to four wrong ones, and every answer says why it is right or wrong. The
form is of HTML and CSS alone: radio buttons, which the keyboard reaches, and a line of feedback that appears when its
answer is chosen. It works in a notebook, in the built book opened from a file, and on a phone.
"""

import hashlib
import html
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from bdlib.claims.reading import Text
from bdlib.experiments import notebooks
from bdlib.words import OneLineError, shown

FOLDER = notebooks.NOTEBOOKS / "quiz"
STYLE = """<style>
.bdlib-quiz fieldset { border: 1px solid #8888; border-radius: 0.3rem; padding: 0.4rem 0.8rem; margin: 0 0 1rem; }
.bdlib-quiz legend { float: none; width: auto; padding: 0 0.3rem; font-size: 1rem; font-weight: 600; }
.bdlib-quiz .quiz-answer { display: flex; flex-wrap: wrap; align-items: baseline; margin: 0.3rem 0; }
.bdlib-quiz input { flex: none; width: 1.1rem; height: 1.1rem; margin: 0 0.5rem 0 0; transform: translateY(0.15rem); }
.bdlib-quiz label { flex: 1; margin: 0; cursor: pointer; }
.bdlib-quiz .quiz-feedback { display: none; flex-basis: 100%; margin: 0.2rem 0 0.5rem 1.6rem; padding-left: 0.6rem; }
.bdlib-quiz input:checked ~ .quiz-feedback { display: block; }
.bdlib-quiz .quiz-right { border-left: 0.25rem solid #0072b2; }
.bdlib-quiz .quiz-wrong { border-left: 0.25rem solid #d55e00; }
</style>"""


class QuizError(OneLineError, ValueError):
    """A quiz that cannot be read; says in one line which question, which key, and what is allowed."""


class Answer(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One answer, and the line of feedback for who chooses it."""

    answer: Text
    because: Text


class Question(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One question with its one right answer and the wrong ones."""

    question: Text
    right: Answer
    wrong: Annotated[list[Answer], Field(min_length=2, max_length=4)]

    @property
    def answers(self) -> list[Answer]:
        """All answers in an order that does not tell the right one: by a checksum of their text."""
        return sorted([self.right, *self.wrong], key=lambda one: hashlib.sha256(one.answer.encode()).hexdigest())


def load_quiz(paper: str) -> list[Question]:
    """The three or four questions of a chapter.

    Raises QuizError, in one line, for a chapter without a quiz, and for a file with a fault in it.

    Example: ``load_quiz("nad")[0].right.answer``
    """
    path = FOLDER / f"{paper}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(other.stem for other in FOLDER.glob("*.yaml")))
        raise QuizError(f"paper={shown(paper)}: no quiz; there are {there}")
    try:
        questions = TypeAdapter(Annotated[list[Question], Field(min_length=3, max_length=4)]).validate_python(
            notebooks.read_yaml(path)
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ", ".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise QuizError(f"{path.name}: {place or 'questions'}: {first['msg']}") from None
    for question in questions:
        texts = [one.answer for one in question.answers]
        if len({*texts}) < len(texts):
            raise QuizError(f"{path.name}: {question.question}: two answers are the same")
    return questions


def quiz_html(paper: str, questions: Sequence[Question]) -> str:
    """The form as HTML. `paper` tells its radio buttons from those of another page."""
    fields = [_field(f"quiz-{paper}-{number}", number, one) for number, one in enumerate(questions, 1)]
    return f'{STYLE}\n<div class="bdlib-quiz" role="group" aria-label="Quiz">\n' + "\n".join(fields) + "\n</div>"


def quiz(paper: str) -> Any:
    """The quiz of a chapter as a cell's output. Raises QuizError as `load_quiz` does.

    Example: ``quiz("nad")``
    """
    from IPython.display import HTML

    return HTML(quiz_html(paper, load_quiz(paper)))


def _field(name: str, number: int, question: Question) -> str:
    """One question: its answers as radio buttons, each with its feedback behind it."""
    lines = [f"<fieldset><legend>{number}. {_marked(question.question)}</legend>"]
    for place, one in enumerate(question.answers, 1):
        right = one == question.right
        verdict, kind = ("Right.", "quiz-right") if right else ("Not quite.", "quiz-wrong")
        lines.append(
            f'<div class="quiz-answer"><input type="radio" name="{name}" id="{name}-{place}">'
            f'<label for="{name}-{place}">{_marked(one.answer)}</label>'
            f'<div class="quiz-feedback {kind}" role="status"><b>{verdict}</b> {_marked(one.because)}</div></div>'
        )
    return "\n".join([*lines, "</fieldset>"])


def _marked(text: str) -> str:
    """A text as HTML: nothing in it is markup but code between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text.strip()))
