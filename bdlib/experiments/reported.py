"""The published numbers, results/reported/<paper>.csv: each row checked on every read, each with its source."""

import csv
import io
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from bdlib import folders
from bdlib.attacks import ATTACKS
from bdlib.checks import OneOf
from bdlib.data.datasets import DATASETS
from bdlib.defenses import DEFENSES
from bdlib.experiments.versions import defense_of
from bdlib.files import FileError, read_text
from bdlib.models import MODELS

Text: TypeAlias = Annotated[str, Field(pattern=r"\S")]
_BLANK = BeforeValidator(lambda cell: cell or None)  # an empty cell: not stated
Share: TypeAlias = Annotated[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None, _BLANK]
Percent: TypeAlias = Annotated[Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None, _BLANK]


class ReportedRow(BaseModel, frozen=True, extra="forbid"):
    """One published result. The columns that end in `_key` name what bdlib has of it; empty where it has nothing."""

    table: Text  # where in the source
    dataset: Text  # as the source calls it; so are model, attack and defense
    model: Text
    attack: Text
    poison_rate: Share
    defense: Text
    clean_fraction: Share  # the defender's share of the training images
    acc_percent: Percent
    asr_percent: Percent
    own: Literal["True", "False"]  # whether the paper ran its own method
    dataset_key: Annotated[Annotated[str, OneOf(DATASETS)] | None, _BLANK]
    model_key: Annotated[Annotated[str, OneOf(MODELS)] | None, _BLANK]
    attack_key: Annotated[Annotated[str, OneOf(ATTACKS)] | None, _BLANK]
    defense_key: Annotated[Annotated[str, OneOf({"none": None, **DEFENSES})] | None, _BLANK]
    source: Text
    source_url: Annotated[str, Field(pattern=r"^https://\S+$")]
    note: str
    tpr_percent: Percent = None  # of a detector, where the file has these two columns
    fpr_percent: Percent = None


DETECTION = ("tpr_percent", "fpr_percent")  # columns that only files with detectors have, the last ones


def reported_file(paper: str) -> Path:
    """Where the published numbers of one paper are."""
    return folders.REPORTED / f"{paper}.csv"


def reported(paper: str) -> pd.DataFrame:
    """The published numbers of one paper, each with its source; accuracies in per cent, as published.

    Raises FileError, in one line that names the file, the line and the column, for what no row may be.

    Example: `reported("nad").query("own")[["defense", "asr_percent", "source"]]`
    """
    path = reported_file(paper)
    text = read_text(path)
    _check_rows(path, text)
    return pd.read_csv(io.StringIO(text))


def _check_rows(path: Path, text: str) -> None:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [*ReportedRow.model_fields]
        expected = columns if "tpr_percent" in (rows.fieldnames or ()) else columns[: -len(DETECTION)]
        if rows.fieldnames != expected:
            raise FileError(f"{path}, line 1: the columns must be {', '.join(expected)}")
        for row in rows:
            if None in row or None in row.values():
                raise FileError(f"{path}, line {rows.line_num}: must have {len(expected)} cells")
            ReportedRow.model_validate(row)
    except csv.Error as error:
        raise FileError(f"{path}, line {rows.line_num}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{path}, line {rows.line_num}, column {first['loc'][0]}"
        raise FileError(f"{place}: {first['input']!r}: {first['msg'].lower()}") from None


def answers(paper: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """The paper's own published row for this data set, network, attack and defence, or None."""
    if not reported_file(paper).is_file():
        return None  # a page that is no paper, such as the comparison
    rows = reported(paper)
    own = rows[(rows["own"]) & (rows["defense_key"] == defense_of(paper, parameters))]
    for key in ("dataset", "model", "attack"):
        own = own[own[f"{key}_key"] == parameters[key]]
    if own.empty:
        return None
    row = own.iloc[0]
    shares = {"clean_accuracy": row["acc_percent"], "asr": row["asr_percent"]}
    return {name: None if pd.isna(value) else value / 100 for name, value in shares.items()} | {"source": row["source"]}
