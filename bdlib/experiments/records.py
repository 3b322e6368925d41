"""One JSON file a run: what was asked, what came out, and, set apart, what it ran on."""

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib.evaluation.intervals import LEVEL, seed_interval
from bdlib.evaluation.metrics import Scores, defense_effectiveness
from bdlib.experiments.parameters import added_later, decisive
from bdlib.experiments.places import write_or_rescue
from bdlib.experiments.record_file import RecordError, read_content, write_content
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.experiments.reported import answers, reported
from bdlib.experiments.versions import defense_of, versions
from bdlib.files import FileError, read_text
from bdlib.folders import RESULTS
from bdlib.runtime import digest

__all__ = ["Record", "RecordError", "answers", "cell", "damage", "file_name", "load", "no_runs", "over_seeds", "parse",
           "path", "read", "read_present", "reported", "table"]  # fmt: skip
PASSES = ("forward_passes", "backward_passes")  # columns of the table
NO_INTERVAL = (float("nan"), float("nan"))  # of one seed


@dataclass(frozen=True)
class Record:
    """A finished run. All but `runtime` is byte-identical between equal runs on one machine."""

    paper: str
    parameters: dict[str, Any]  # those of the notebook that decide numbers
    before: Scores | None  # the victim; None where a run has none, and all its numbers are in `measured`
    after: Scores | None  # the victim, defended
    reported: dict[str, Any] | None  # the published row that this run answers; None where there is none
    premises: list[str] = field(default_factory=list)  # what is wrong with the comparison, if anything
    runtime: dict[str, Any] = field(default_factory=dict)  # commit, device, libraries, seconds, peak memory
    measured: dict[str, float] = field(default_factory=dict)  # what the paper says happens inside, as numbers
    versions: dict[str, int] = field(default_factory=dict)  # NUMBERS_VERSION of each part of the code that ran
    passes: dict[str, int] = field(default_factory=dict)  # of the defense: images forward and backward; none before 0.3

    @property
    def name(self) -> str:
        """The name of the record's file."""
        return file_name(self.paper, self.parameters, self.versions)

    def text(self) -> str:
        """The record as JSON, keys sorted, numbers as numbers, with a checksum in the block `runtime`."""
        return write_content(asdict(self))

    def save(self, path: Path) -> Path:
        """Write the record to `path`, whole or not at all; returns where it is.

        A finished run is never lost for want of a place: where `path` cannot be written, the record goes to
        build/runs/rescued in the repository, or else to the temporary folder, and a warning says where it is.

        Example: `record.save(Path("run.json"))`
        """
        return write_or_rescue(path, self.text().encode())


def file_name(paper: str, parameters: dict[str, Any], versions: dict[str, int]) -> str:
    """Attack, method and seed, then eight digits that stand for all parameters and versions; 1 is the same as 1.0.

    A parameter that was added later has no part in the digits at the value that stands for its absence.
    """
    added = added_later(paper)
    named = {name: value for name, value in parameters.items() if name not in added or value != added[name]}
    shaped_by = digest(json.loads(json.dumps([named, versions], sort_keys=True), parse_int=float))
    about = (WITHOUT_VICTIM[paper].record_name(parameters) if paper in WITHOUT_VICTIM
             else f"{parameters['attack']}-{defense_of(paper, parameters)}")  # fmt: skip
    return f"{about}-seed{parameters['seed']}-{shaped_by}.json"


def path(paper: str, profile: str, parameters: dict[str, Any]) -> Path:
    """Where the record of a run with these parameters belongs, when the code as it is makes it."""
    parameters = decisive(parameters)
    return RESULTS / profile / paper / file_name(paper, parameters, versions(paper, parameters))


def read(path: Path | str) -> Record:
    """The record in one file, all of it checked. Raises RecordError, in one line that names the file.

    Example: `read(RESULTS / "quick" / "nad" / "badnets-nad-seed0-1f019045.json").after.asr`
    """
    path = Path(path)
    try:
        text = read_text(path)
    except FileError as error:
        raise RecordError(str(error)) from None
    try:
        record = parse(text)
        name = record.name
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path}: its parameters lack {error}") from None
    if path.name != name:
        raise RecordError(f"{path}: its content belongs under the name {name}")
    return record


def parse(text: str) -> Record:
    """The record in a text that `Record.text` gave, whatever the name of its file. Raises RecordError."""
    raw = read_content(text)
    scores = {when: Scores(**raw[when]) if raw[when] else None for when in ("before", "after")}
    return Record(**{**raw, **scores})


def read_present(paths: Iterable[Path]) -> dict[Path, Record]:
    """The records that are here, by file. One that is damaged is warned about, by name, and counts as missing."""
    present = {}
    for path in paths:
        if path.exists() or path.is_symlink():
            try:
                present[path] = _read_in_folder(path)
            except RecordError as error:
                warnings.warn(f"{error}; it counts as missing", stacklevel=1)  # the same line once in a process
    return present


def damage(path: Path) -> str | None:
    """What is wrong with a record, in one line that names the file; None where it is in order or not there."""
    try:
        if path.exists() or path.is_symlink():
            _read_in_folder(path)
    except RecordError as error:
        return str(error)
    return None


def _read_in_folder(path: Path) -> Record:
    """As `read`, of a record under results/, which belongs to the paper after which its folder is named."""
    record = read(path)
    if record.paper != path.parent.name:
        raise RecordError(f"{path}: it is a run of {record.paper}, in the folder of {path.parent.name}")
    return record


def load(paper: str, profile: str = "quick") -> list[Record]:
    """Every record of one paper at one profile, by file name; an empty list when none has been run.

    Raises RecordError for the first that is damaged.
    """
    return [_read_in_folder(path) for path in sorted((RESULTS / profile / paper).glob("*.json"))]


def table(records: list[Record]) -> pd.DataFrame:
    """One row a record: paper, parameters, scores before and after, DER, what was measured, passes, seconds, commit.

    The passes are `forward_passes` and `backward_passes`, in images; nan in a record from before they were counted.
    """
    rows = []
    for record in records:
        scores = _scores(record)
        settings = {name: cell(value) for name, value in (added_later(record.paper) | record.parameters).items()}
        passes = {name: record.passes.get(name.removesuffix("_passes"), math.nan) for name in PASSES}
        runtime = {name: record.runtime.get(name) for name in ("seconds", "commit")}
        rows.append({"paper": record.paper} | settings | scores | record.measured | passes | runtime)
    return pd.DataFrame(rows)


def _scores(record: Record) -> dict[str, float]:
    """The scores before and after, and DER; nan for all where a run has no victim."""
    names = [field.name for field in fields(Scores)]
    before, after = (asdict(scores) if scores else dict.fromkeys(names, math.nan)
                     for scores in (record.before, record.after))  # fmt: skip
    scores = {f"{name}_before": before[name] for name in names} | {f"{name}_after": after[name] for name in names}
    der = defense_effectiveness(record.before, record.after) if record.before and record.after else math.nan
    return scores | {"der": der}


def cell(value: Any) -> Any:
    """A parameter's value as the table holds it: a list as a tuple, which can be compared and grouped."""
    return tuple(value) if isinstance(value, list) else value


def no_runs(parameters: dict[str, Any]) -> pd.DataFrame:
    """The table of no record at all, with the columns that records of these parameters would have."""
    scores = [f"{field.name}_{when}" for when in ("before", "after") for field in fields(Scores)]
    return pd.DataFrame(columns=["paper", *parameters, *scores, "der", *PASSES, "seconds", "commit"])


def over_seeds(
    runs: pd.DataFrame, by: list[str], score: str, *, level: float = LEVEL, limits: tuple[float, float] | None = None
) -> pd.DataFrame:
    """Mean of `score` over seeds with its interval: columns `by`, mean, low, high, seeds; in the unit of `score`.

    Several runs of one seed, such as those of several attacks, are one value, their mean: an interval is over seeds.
    `level` is that of each interval, 95 % by default. An interval ends where `limits` do: (0, 1) for shares, (-1, 1)
    for differences of shares.
    """
    rows = []
    for key, group in runs.groupby(by, sort=False):
        values = (group.groupby("seed")[score].mean() if "seed" in group else group[score]).tolist()
        mean, low, high = seed_interval(values, level=level) if len(values) > 1 else (values[0], *NO_INTERVAL)
        if limits and len(values) > 1:
            low, high = max(low, limits[0]), min(high, limits[1])
        names = key if isinstance(key, tuple) else (key,)
        rows.append(dict(zip(by, names, strict=True)) | {"mean": mean, "low": low, "high": high, "seeds": len(values)})
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds"])
