"""The runs that a profile's studies plan: which have a record, which are missing, and in what order those are made.

Snakemake makes them, a group of runs that share a victim at a time; `bdlib records` is what it calls for a group.
"""

import os
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bdlib.experiments import notebooks, records
from bdlib.experiments import run as experiments
from bdlib.experiments.victims import VictimConfig, victim_path
from bdlib.runtime import RESULTS, write_whole

COLUMNS = ["paper", "study", "method", "dataset", "attack", "seed", "record", "victim", "state"]
STARTED = "The run was started and has not ended. It is running, or it was killed, for instance for lack of memory."
FIRST = ("headline", "baselines", "suite")  # the studies whose runs are made before all others


@dataclass(frozen=True)
class PlannedRun:
    """One planned run: the study that asks for it first, its parameters, and the victim that it starts from."""

    paper: str
    study: str
    method: str
    parameters: dict[str, Any]
    path: Path  # of its record
    victim: str  # the name of the victim's file

    @property
    def order(self) -> tuple[bool, int, bool]:
        """The runs with the smallest order are made first: GTSRB after all else, seed by seed, headlines first."""
        return (self.study == "gtsrb", self.parameters["seed"], self.study not in FIRST)

    @property
    def group(self) -> str:
        """A name for the runs that are made together, in one process: their victim and their order."""
        return "_".join([self.victim, *(str(int(part)) for part in self.order)])

    @property
    def failure(self) -> Path:
        """The file that tells how the run failed. It is removed when the run succeeds."""
        return self.path.with_suffix(".failed.txt")


def planned_runs(profile: str, papers: list[str] | None = None) -> list[PlannedRun]:
    """Every run that the studies of `papers` (default: of all) ask for at a profile, once, under its first study."""
    runs: dict[Path, PlannedRun] = {}
    victim = cache(lambda config: victim_path(config).stem)  # many runs share one
    for paper in papers or notebooks.papers():
        for study in notebooks.studies(paper, profile):
            for method, point in notebooks.study(paper, profile, study):
                if (path := records.path(paper, profile, point)) not in runs:
                    name = victim(VictimConfig.from_parameters(point))
                    runs[path] = PlannedRun(paper, study, method, point, path, name)
    return list(runs.values())


def missing_groups(runs: list[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs without a record, in groups that share a victim and an order; the group to be made first comes first."""
    groups: dict[tuple[object, ...], list[PlannedRun]] = {}
    for run in runs:
        if not run.path.is_file():
            groups.setdefault((*run.order, run.victim), []).append(run)
    return [groups[key] for key in sorted(groups)]


def make(run: PlannedRun) -> str | None:
    """Make a run and write its record, unless it is there. Returns what `failure_line` does.

    While it runs, and after a failure, the file `run.failure` says so. A run that is interrupted leaves nothing.
    """
    if run.path.is_file():
        return None  # another process has made it in the meantime
    write_whole(run.failure, STARTED.encode())
    try:
        record = experiments.run(run.paper, run.parameters)
        record.save(run.path)
    except Exception:
        write_whole(run.failure, traceback.format_exc().encode())
        return failure_line(run)
    except KeyboardInterrupt:
        run.failure.unlink()
        raise
    run.failure.unlink()
    print(f"{run.paper} {run.path.stem}: ACC {record.after.clean_accuracy:.1%}, ASR {record.after.asr:.1%}", flush=True)
    return None


def failure_line(run: PlannedRun) -> str | None:
    """For a run that failed, FAILED, the file with its traceback and the last line of that; else None.

    The first word is UNFINISHED for a run that was started and has not ended.
    """
    if run.path.is_file() or not run.failure.is_file():
        return None
    last = run.failure.read_text().strip().splitlines()[-1]
    return f"{'UNFINISHED' if last == STARTED else 'FAILED'} {os.path.relpath(run.failure)}: {last}"


def table(runs: list[PlannedRun]) -> pd.DataFrame:
    """A row for every planned run; its `state` is `here` or `missing`."""
    rows = [
        [run.paper, run.study, run.method, run.parameters["dataset"], run.parameters["attack"], run.parameters["seed"],
         run.path.stem, run.victim, "here" if run.path.is_file() else "missing"]
        for run in runs
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def write_tables(profile: str, runs: list[PlannedRun]) -> str:
    """Write manifest.csv, and metrics.csv with all records there are. Returns a sentence that counts the runs."""
    manifest = table(runs)
    write_whole(RESULTS / profile / "manifest.csv", manifest.to_csv(index=False).encode())
    if rows := [records.read(path) for path in sorted((RESULTS / profile).glob("*/*.json"))]:
        write_whole(RESULTS / profile / "metrics.csv", records.table(rows).to_csv(index=False).encode())
    here = int((manifest["state"] == "here").sum())
    return f"{here} of {len(manifest)} {profile} runs are here, {len(manifest) - here} are missing."
