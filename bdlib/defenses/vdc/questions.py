"""VDC's first stage: questions about a label. General ones ask what the picture shows, specific ones about the label.

The questions for the classes of our data sets are in questions.yaml. Other classes get four fixed sentences, or the
questions that a language model writes (`generate_questions`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import Field

from bdlib.checks import ParameterError, checked
from bdlib.files import read_text
from bdlib.words import shown

FILE = Path(__file__).with_name("questions.yaml")
GENERAL = (
    "What is the main object in this picture? Answer with one word.",
    "Describe this picture. Name everything that it may show.",
)
YES_OR_NO = "Answer yes or no."  # ends every specific question
TEMPLATES = (
    "Is there {name} in this picture?",
    "Would most people name the main object in this picture {name}?",
    "Does the main object in this picture have the typical parts of {name}?",
    "Could this picture illustrate the word {name} in a dictionary?",
)
PROMPT = (
    "Write {count} short questions that help to check whether a picture shows {name}. Ask about the object itself, "
    "other words for it, its typical parts and its use. The right answer to each must be yes if the picture shows "
    "{name}. Write one question a line and nothing else."
)
Kind: TypeAlias = Literal["general", "specific"]
Chosen: TypeAlias = Literal["both", "general", "specific"]


@dataclass(frozen=True)
class Question:
    """One question about an image, with the words that an answer must hold to agree with the label."""

    text: str
    kind: Kind
    expected: tuple[str, ...]  # one of these; of a specific question "yes"


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """What questions.yaml says of each class name: synonyms, specific questions, and ImageNet classes behind both."""
    return yaml.safe_load(read_text(FILE))


def questions_about(name: str) -> tuple[Question, ...]:
    """Two general and four specific questions about the class `name`, in a fixed order.

    Example: `questions_about("cat")[2].text` is "Is there a cat in this picture? Answer yes or no."
    """
    entry = shipped().get(name, {})
    synonyms = tuple(entry.get("synonyms", [name.lower()]))
    specific = [part["ask"] for part in entry.get("specific", [])] or [text.format(name=name) for text in TEMPLATES]
    return build(synonyms, specific)


def build(synonyms: Sequence[str], specific: Sequence[str]) -> tuple[Question, ...]:
    """The general questions, expecting one of the `synonyms`, and the `specific` ones, expecting yes."""
    general = [Question(text, "general", tuple(synonyms)) for text in GENERAL]
    return (*general, *(Question(f"{text} {YES_OR_NO}", "specific", ("yes",)) for text in specific))


def questions_for(class_names: Sequence[str], chosen: Chosen = "both") -> list[tuple[Question, ...]]:
    """The questions about each class, by its label. Raises ParameterError for class names that are not distinct text.

    Example: `questions_for(("cat", "dog"), "specific")`
    """
    if isinstance(class_names, str):
        raise ParameterError(f"class_names={shown(class_names)}: must be a list of words")
    for name in class_names:
        if not isinstance(name, str) or not name.strip() or list(class_names).count(name) > 1:
            raise ParameterError(f"class_names: {shown(name)}: must be words, each there once")
    return [tuple(q for q in questions_about(name) if chosen in ("both", q.kind)) for name in class_names]


@checked
def generate_questions(
    name: str, ask: Callable[[str], str], *, count: Annotated[int, Field(ge=1, le=100)] = 4
) -> tuple[Question, ...]:
    """The questions about a class, the specific ones written by the language model behind `ask`.

    Raises ParameterError where its answer has fewer than `count` questions.

    Example: `generate_questions("tabby", HttpAnswerer("http://localhost:8000/v1", "qwen").ask)`
    """
    lines = [
        re.sub(r"^[\s\d.)*-]+", "", line).strip() for line in ask(PROMPT.format(count=count, name=name)).split("\n")
    ]
    specific = [*dict.fromkeys(line for line in lines if line.endswith("?"))][:count]  # each once
    if len(specific) < count:
        raise ParameterError(f"class_names: {name!r}: the model wrote {len(specific)} of {count} questions")
    return build([name.lower()], specific)
