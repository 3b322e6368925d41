"""What a record's file may hold: every part is checked on every read. An error is one line that names the file."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, Field, ValidationError

from bdlib.files import FileError

Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Scalar: TypeAlias = bool | int | Number | str | None
CHECKSUM = '"checksum": "'  # what stands before it, in the block `runtime`, the only one that differs in equal runs
BLANK = "0" * 16  # what stands in the checksum's place while it is computed


class RecordError(FileError):
    """A file is no record, or its content does not belong under its name."""


class _Part(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Types are as they stand: 1 is a number, "1" and true are none; and no key is left out or added."""


class _Scores(_Part, frozen=True):
    clean_accuracy: Share
    asr: Share
    robust_accuracy: Share
    clean_accuracy_others: Share


class _Reported(_Part, frozen=True):
    clean_accuracy: Share | None
    asr: Share | None
    source: Text


class _Runtime(_Part, frozen=True, extra="allow"):
    """What the run was made on: all of it optional but for the checksum of the record."""

    checksum: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    commit: Text = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _Passes(_Part, frozen=True):
    """Images that the defense sent through networks."""

    forward: Annotated[int, Field(ge=0)]
    backward: Annotated[int, Field(ge=0)]


class _Content(_Part, frozen=True):
    paper: Text
    parameters: dict[str, Scalar | list[Scalar]]
    before: _Scores | None  # None where a run has no victim
    after: _Scores | None
    reported: _Reported | None
    premises: list[Text]
    runtime: _Runtime
    measured: dict[str, Number | None]  # None where a measure divided by zero
    versions: dict[str, Annotated[int, Field(ge=1)]]
    passes: _Passes = _Passes(forward=0, backward=0)  # may be left out, as it was before passes were counted


def write_content(content: Mapping[str, Any]) -> str:
    """The text of a record's file: JSON, keys sorted, with a checksum of all of it in the block `runtime`."""
    measured = {name: value if math.isfinite(value) else None for name, value in content["measured"].items()}
    content = {name: value for name, value in content.items() if name != "passes" or value} | {"measured": measured}
    sealed = {**content, "runtime": {**content["runtime"], "checksum": BLANK}}
    text = json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n"
    return text.replace(CHECKSUM + BLANK, CHECKSUM + _checksum(text), 1)


def read_content(text: str) -> dict[str, Any]:
    """What `write_content` was given. Raises RecordError in one line for a text that it did not write."""
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
        _Content.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise RecordError(f"{place} = {_shortened(first['input'])}: {first['msg'].lower()}") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"it is no JSON: {error}") from None
    before, _, after = text.partition(CHECKSUM)
    if content["runtime"].pop("checksum") != _checksum(before + CHECKSUM + BLANK + after[len(BLANK) :]):
        raise RecordError("its content was altered: the checksum in it is that of another")
    content["measured"] = {name: math.nan if value is None else value for name, value in content["measured"].items()}
    return content


def _checksum(text: str) -> str:
    """Sixteen hexadecimal digits that stand for a record's whole text, the checksum in it being blank."""
    return hashlib.sha256(text.encode()).hexdigest()[: len(BLANK)]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
