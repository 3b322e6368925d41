"""The runs that a profile's studies plan: which have a record, which are missing, and in what order those are made.

Snakemake makes them, a group of runs that share a victim at a time; `bdlib records` is what it calls for a group.
"""

import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib.experiments import notebooks, records
from bdlib.experiments import run as experiments
from bdlib.experiments.board_plan import BOARD, board_runs
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.experiments.victims import VictimConfig, victim_path
from bdlib.files import FileError, set_aside, write_whole
from bdlib.folders import RESULTS
from bdlib.words import one_line

COLUMNS = ["paper", "study", "method", "dataset", "attack", "seed", "record", "victim", "state"]
STARTED = "The run was started and has not ended. It is running, or it was killed, for instance for lack of memory."
FIRST = ("headline", "baselines", "shared_control", "suite")  # the studies whose runs are made before all others


@dataclass(frozen=True)
class PlannedRun:
    """One planned run: the study that asks for it first, its parameters, and the victim that it starts from."""

    paper: str
    study: str
    method: str
    parameters: dict[str, Any]
    path: Path  # of its record
    victim: str  # the name of the victim's file; empty where the page has no victims
    tier: int = 0  # of a run of the board: its place in the order of interest

    @property
    def order(self) -> tuple[int, int, int]:
        """The runs with the smallest order are made first: seed by seed, headlines first; then GTSRB; then the board.

        The runs of the board are made in the order of its plan, tier by tier.
        """
        if self.study == BOARD:
            return (2, self.tier, 0)
        return (int(self.study == "gtsrb"), self.parameters["seed"], int(self.study not in FIRST))

    @property
    def group(self) -> str:
        """A name for the runs that are made together, in one process: their victim and their order."""
        return "_".join([self.victim or self.paper, *(str(int(part)) for part in self.order)])

    @property
    def failure(self) -> Path:
        """The file that tells how the run failed. It is removed when the run succeeds."""
        return self.path.with_suffix(".failed.txt")


def planned_runs(profile: str, papers: list[str] | None = None) -> list[PlannedRun]:
    """Every run that the studies of `papers` ask for at a profile, once, under its first study.

    `papers` may hold "board", the plan of the board: its runs are chapters' runs on more victims. By default it is all
    chapters and then the board.

    Example: `planned_runs("quick", ["board"])` gives all runs of the board, also those that a chapter plans too.
    """
    runs: dict[Path, PlannedRun] = {}
    victim = cache(lambda config: victim_path(config).stem)  # many runs share one
    for paper in papers or [*notebooks.papers(), BOARD]:
        for owner, study, method, point, tier in _asked(paper, profile):
            if (path := records.path(owner, profile, point)) not in runs:
                name = "" if owner in WITHOUT_VICTIM else victim(VictimConfig.from_parameters(point))
                runs[path] = PlannedRun(owner, study, method, point, path, name, tier)
    return list(runs.values())


def _asked(paper: str, profile: str) -> Iterator[tuple[str, str, str, dict[str, Any], int]]:
    """What a page asks for: the chapter that a run belongs to, study, method, parameters, and the board's tier."""
    if paper == BOARD:
        yield from ((run.paper, BOARD, run.defense, run.parameters, run.tier) for run in board_runs(profile))
        return
    for study in notebooks.studies(paper, profile):
        yield from ((paper, study, method, point, 0) for method, point in notebooks.study(paper, profile, study))


def missing_groups(runs: list[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs without a record, in groups that share a victim and an order; the group to be made first comes first.

    A record that is damaged is warned about, by name, and its run is missing.
    """
    present = records.read_present(run.path for run in runs)
    groups: dict[tuple[object, ...], list[PlannedRun]] = {}
    for run in runs:
        if run.path not in present:
            groups.setdefault((*run.order, run.victim), []).append(run)
    return [groups[key] for key in sorted(groups)]


def set_aside_damaged(runs: list[PlannedRun]) -> list[str]:
    """Rename each damaged record, so that what looks for its file sees that the run is missing; a line for each."""
    lines = []
    for run in runs:
        if damage := records.damage(run.path):
            lines.append(f"{damage}; it is kept as {set_aside(run.path).name}, and made anew")
    return lines


def make(run: PlannedRun) -> str | None:
    """Make a run and write its record, unless it is there. Returns what `failure_line` does.

    While it runs, and after a failure, the file `run.failure` says so. A run that is interrupted leaves nothing. A
    folder that cannot be written is known before the run starts.
    """
    try:
        for line in set_aside_damaged([run]):
            warnings.warn(one_line(line), stacklevel=2)
        if run.path.is_file():
            return None  # another process has made it in the meantime
        write_whole(run.failure, STARTED.encode())
        record = experiments.run(run.paper, run.parameters)
        if (place := record.save(run.path)) != run.path:
            raise FileError(f"{run.path} cannot be written; the record is in {place}")
    except Exception as error:
        with suppress(OSError):
            write_whole(run.failure, traceback.format_exc().encode(errors="backslashreplace"))
        return _failed(run, f"{type(error).__name__}: {error}".splitlines()[0])
    except KeyboardInterrupt:
        run.failure.unlink(missing_ok=True)
        raise
    run.failure.unlink(missing_ok=True)
    print(f"{run.paper} {run.path.stem}: {outcome(record)}", flush=True)
    return None


def outcome(record: records.Record) -> str:
    """What came out of a run, in a few words: ACC and ASR, or the measures of a run without a victim."""
    if record.after:
        return f"ACC {record.after.clean_accuracy:.1%}, ASR {record.after.asr:.1%}"
    return ", ".join(f"{name} {value:.3g}" for name, value in record.measured.items())


def failure_line(run: PlannedRun) -> str | None:
    """For a run that failed, FAILED, the file with its traceback and the last line of that; else None.

    A record that is damaged is a failure too. The first word is UNFINISHED for a run that was started and has not
    ended.
    """
    if damage := records.damage(run.path):
        return f"FAILED {damage}"
    if run.path.is_file() or not run.failure.is_file():
        return None
    last = (run.failure.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word why"])[-1]
    return f"UNFINISHED {os.path.relpath(run.failure)}: {last}" if last == STARTED else _failed(run, last)


def _failed(run: PlannedRun, why: str) -> str:
    return f"FAILED {os.path.relpath(run.failure)}: {why}"


def table(runs: list[PlannedRun]) -> pd.DataFrame:
    """A row for every planned run; its `state` is `here` or `missing`."""
    present = records.read_present(run.path for run in runs)
    rows = [
        [run.paper, run.study, run.method, run.parameters.get("dataset"), run.parameters.get("attack"),
         run.parameters["seed"],
         run.path.stem, run.victim or None, "here" if run.path in present else "missing"]
        for run in runs
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def write_tables(profile: str, runs: list[PlannedRun]) -> str:
    """Write manifest.csv, and metrics.csv with all records there are. Returns a sentence that counts the runs."""
    manifest = table(runs)
    write_whole(RESULTS / profile / "manifest.csv", manifest.to_csv(index=False).encode())
    if present := records.read_present(sorted((RESULTS / profile).glob("*/*.json"))):
        metrics = records.table([*present.values()])
        metrics.insert(0, "record", [path.stem for path in present])  # as the manifest names it
        write_whole(RESULTS / profile / "metrics.csv", metrics.to_csv(index=False).encode())
    here = int((manifest["state"] == "here").sum())
    return f"{here} of {len(manifest)} {profile} runs are here, {len(manifest) - here} are missing."
