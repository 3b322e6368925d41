"""One JSON file a run: what was asked, what came out, and, set apart, what it ran on."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib.evaluation.intervals import seed_interval
from bdlib.evaluation.metrics import Scores, defense_effectiveness
from bdlib.experiments.parameters import decisive
from bdlib.experiments.versions import defense_of, versions
from bdlib.folders import REPORTED
from bdlib.runtime import RESULTS, digest, write_whole


class RecordError(ValueError):
    """A record's content does not belong under its file name."""


@dataclass(frozen=True)
class Record:
    """A finished run. All but `runtime` is byte-identical between equal runs on one machine."""

    paper: str
    parameters: dict[str, Any]  # those of the notebook that decide numbers
    before: Scores  # the victim
    after: Scores  # the victim, defended
    reported: dict[str, Any] | None  # the published row that this run answers; None where there is none
    premises: list[str] = field(default_factory=list)  # what is wrong with the comparison, if anything
    runtime: dict[str, Any] = field(default_factory=dict)  # commit, device, libraries, seconds, peak memory
    measured: dict[str, float] = field(default_factory=dict)  # what the paper says happens inside, as numbers
    versions: dict[str, int] = field(default_factory=dict)  # NUMBERS_VERSION of each part of the code that ran

    @property
    def name(self) -> str:
        """The name of the record's file."""
        return file_name(self.paper, self.parameters, self.versions)

    def text(self) -> str:
        """The record as JSON, keys sorted, numbers as numbers."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    def save(self, path: Path) -> Path:
        """Write the record to `path`, whole or not at all."""
        return write_whole(path, self.text().encode())


def file_name(paper: str, parameters: dict[str, Any], versions: dict[str, int]) -> str:
    """Attack, method and seed, then eight digits that stand for all parameters and versions; 1 is the same as 1.0."""
    shaped_by = digest(json.loads(json.dumps([parameters, versions], sort_keys=True), parse_int=float))
    return f"{parameters['attack']}-{defense_of(paper, parameters)}-seed{parameters['seed']}-{shaped_by}.json"


def path(paper: str, profile: str, parameters: dict[str, Any]) -> Path:
    """Where the record of a run with these parameters belongs, when the code as it is makes it."""
    parameters = decisive(parameters)
    return RESULTS / profile / paper / file_name(paper, parameters, versions(paper, parameters))


def read(path: Path) -> Record:
    """The record in one file. Raises RecordError if the file's name is not that of its content."""
    record = parse(path.read_text())
    if path.name != record.name:
        raise RecordError(f"{path}: its content belongs under the name {record.name}")
    return record


def parse(text: str) -> Record:
    """The record in a JSON text, whatever the name of its file."""
    raw = json.loads(text)
    return Record(**{**raw, "before": Scores(**raw["before"]), "after": Scores(**raw["after"])})


def load(paper: str, profile: str = "quick") -> list[Record]:
    """Every record of one paper at one profile, by file name; an empty list when none has been run."""
    return [read(path) for path in sorted((RESULTS / profile / paper).glob("*.json"))]


def table(records: list[Record]) -> pd.DataFrame:
    """One row a record: paper, its parameters, scores before and after, DER, what was measured, seconds and commit."""
    rows = []
    for record in records:
        scores = {f"{name}_before": value for name, value in asdict(record.before).items()}
        scores |= {f"{name}_after": value for name, value in asdict(record.after).items()}
        scores["der"] = defense_effectiveness(record.before, record.after)
        settings = {name: cell(value) for name, value in record.parameters.items()}
        runtime = {name: record.runtime.get(name) for name in ("seconds", "commit")}
        rows.append({"paper": record.paper} | settings | scores | record.measured | runtime)
    return pd.DataFrame(rows)


def cell(value: Any) -> Any:
    """A parameter's value as the table holds it: a list as a tuple, which can be compared and grouped."""
    return tuple(value) if isinstance(value, list) else value


def no_runs(parameters: dict[str, Any]) -> pd.DataFrame:
    """The table of no record at all, with the columns that records of these parameters would have."""
    scores = [f"{field.name}_{when}" for when in ("before", "after") for field in fields(Scores)]
    return pd.DataFrame(columns=["paper", *parameters, *scores, "der", "seconds", "commit"])


def over_seeds(runs: pd.DataFrame, by: list[str], score: str) -> pd.DataFrame:
    """Mean of `score` over seeds with its 95 % interval: columns `by`, mean, low, high, seeds; in [0, 1]."""
    rows = []
    for key, group in runs.groupby(by, sort=False):
        values = group[score].tolist()
        mean, low, high = seed_interval(values) if len(values) > 1 else (values[0], float("nan"), float("nan"))
        names = key if isinstance(key, tuple) else (key,)
        rows.append(dict(zip(by, names, strict=True)) | {"mean": mean, "low": low, "high": high, "seeds": len(values)})
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds"])


def reported(paper: str) -> pd.DataFrame:
    """The published numbers of one paper, each with its source; accuracies in per cent, as published."""
    return pd.read_csv(REPORTED / f"{paper}.csv")


def answers(paper: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """The paper's own published row for this data set, network, attack and defence, or None."""
    if not (REPORTED / f"{paper}.csv").is_file():
        return None  # a page that is no paper, such as the comparison
    rows = reported(paper)
    own = rows[(rows["own"]) & (rows["defense_key"] == defense_of(paper, parameters))]
    for key in ("dataset", "model", "attack"):
        own = own[own[f"{key}_key"] == parameters[key]]
    if own.empty:
        return None
    row = own.iloc[0]
    return {"clean_accuracy": row["acc_percent"] / 100, "asr": row["asr_percent"] / 100, "source": row["source"]}
