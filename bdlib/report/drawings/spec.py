"""What a drawing of a method consists of, as its file in `methods/` says it: boxes in rows, arrows, frames, words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from bdlib.checks import ParameterError
from bdlib.files import FileError, read_text

METHODS = Path(__file__).parent / "methods"
Words = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Glyph(BaseModel, frozen=True, extra="forbid"):
    """A small picture inside a box. Its numbers are an illustration and no measurement."""

    kind: Literal["bars", "maps", "curve"]  # bars side by side; squares of 3 x 3 cells; a line with dots on it
    values: Annotated[list[Share], Field(min_length=2)]
    marked: list[Annotated[int, Field(ge=0)]] = []  # positions of those that the method picks out


class Box(BaseModel, frozen=True, extra="forbid"):
    """A box: `kind` decides its sign, `state` its fill; `name` is printed bold and `says` below it."""

    kind: Literal["network", "images", "data", "step"]
    name: Words
    state: Literal["plain", "poisoned", "result"] = "plain"
    says: str = ""
    glyph: Glyph | None = None
    share: Annotated[float, Field(gt=0)] = 1  # of the row's width, in proportion to the others'


class Arrow(BaseModel, frozen=True, extra="forbid"):
    """An arrow from one box to another, to the next row or the next box of the row, or along a side past other rows."""

    start: Words
    end: Words
    says: str = ""
    side: Literal["left", "right"] | None = None


class Frame(BaseModel, frozen=True, extra="forbid"):
    """A dashed frame around the rows from `first` to `last`, counted from 1: what is done again and again."""

    first: Annotated[int, Field(ge=1)]
    last: Annotated[int, Field(ge=1)]
    says: Words


class Drawing(BaseModel, frozen=True, extra="forbid"):
    """One method's drawing."""

    title: Words
    words: Annotated[str, Field(min_length=100)]  # the whole picture in sentences, for who cannot see it
    caption: Words  # one sentence under it
    rows: Annotated[list[Annotated[dict[str, Box], Field(min_length=1)]], Field(min_length=2)]
    arrows: Annotated[list[Arrow], Field(min_length=1)]
    frames: list[Frame] = []

    def boxes(self) -> Iterator[tuple[str, int, Box]]:
        """Every box with its name in the file and its row, counted from 0."""
        for number, row in enumerate(self.rows):
            for key, box in row.items():
                yield key, number, box

    def row_of(self, key: str) -> int:
        """The row of a box, counted from 0."""
        return next(number for name, number, _ in self.boxes() if name == key)


def drawn_methods() -> list[str]:
    """The keys of all methods that have a drawing, which are those of their chapters.

    >>> "nad" in drawn_methods()
    True
    """
    return sorted(path.stem for path in METHODS.glob("*.yaml"))


def load_drawing(key: str, folder: Path = METHODS) -> Drawing:
    """The drawing of a method, by the key of its chapter.

    Raises ParameterError for a key without a drawing, and FileError, which names the file and the entry, for a file
    that is wrong: an unknown entry, an arrow to a box that is not there or past a row without a `side`, a frame around
    rows that are not there.

    Example: ``load_drawing("nad").title``
    """
    path = folder / f"{key}.yaml"
    if not path.is_file():
        raise ParameterError(f"key={key!r}: must be one of {', '.join(drawn_methods())}")
    try:
        drawing = Drawing.model_validate(yaml.safe_load(read_text(path)))
    except ValidationError as error:
        first = error.errors()[0]
        raise FileError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except yaml.YAMLError as error:
        raise FileError(f"{path}: it is no YAML: {' '.join(str(error).split())}") from None
    if fault := next(_faults(drawing), None):
        raise FileError(f"{path}: {fault}")
    return drawing


def _faults(drawing: Drawing) -> Iterator[str]:
    """What is wrong between the parts of a drawing, a line each."""
    rows = {key: number for key, number, _ in drawing.boxes()}
    if len(rows) < sum(len(row) for row in drawing.rows):
        yield "rows: two boxes have the same name"
    for arrow in drawing.arrows:
        if missing := {arrow.start, arrow.end} - rows.keys():
            yield f"arrows: {missing.pop()!r}: no such box"
        elif arrow.side is None and rows[arrow.end] - rows[arrow.start] not in (0, 1):
            yield f"arrows: from {arrow.start} to {arrow.end}: it passes a row and needs a side, left or right"
        else:
            keys = list(drawing.rows[rows[arrow.start]])
            beside = arrow.end in keys and keys.index(arrow.end) - keys.index(arrow.start) != 1
            if arrow.side is None and beside:
                yield f"arrows: from {arrow.start} to {arrow.end}: in a row it must lead to the next box"
    for frame in drawing.frames:
        if not frame.first <= frame.last <= len(drawing.rows):
            yield f"frames: first={frame.first}, last={frame.last}: there are {len(drawing.rows)} rows"
