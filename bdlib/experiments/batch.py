"""All runs that a profile's studies plan and that are not here yet: side by side, in slices of a given length.

    python -m bdlib.batch --profile paper --minutes 10 --jobs 4 --papers nad rnp

makes as many as fit into ten minutes, four at a time on one GPU, and leaves a manifest that says what is done and what
is missing. Run it again for the next slice. A run that is stopped loses itself alone: records are written whole.
"""

import argparse
import multiprocessing
import queue
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bdlib.experiments import notebooks, records
from bdlib.experiments import run as experiments
from bdlib.experiments.victims import VictimConfig, victim_path
from bdlib.runtime import RESULTS, write_whole

COLUMNS = ["paper", "study", "method", "dataset", "attack", "seed", "record", "victim", "state"]


@dataclass(frozen=True)
class Job:
    """One planned run: the study that asks for it first, its parameters, and the victim that it starts from."""

    paper: str
    study: str
    method: str
    parameters: dict[str, Any]
    path: Path  # of its record
    victim: str  # the name of the victim's file

    @property
    def urgency(self) -> tuple[bool, int, bool]:
        """What comes first: CIFAR-10 before GTSRB, a first seed of everything, and the headline before the rest."""
        return (self.study == "gtsrb", self.parameters["seed"], self.study not in ("headline", "baselines", "suite"))


Run = Callable[[Job], None]


def planned(profile: str, papers: list[str] | None = None) -> list[Job]:
    """Every run that the studies of these papers, or of all, ask for at a profile; each once, with its first study."""
    jobs: dict[Path, Job] = {}
    victim = cache(lambda config: victim_path(config).stem)  # once for the runs that share it
    for paper in papers or notebooks.papers():
        for study in notebooks.studies(paper, profile):
            for method, point in notebooks.study(paper, profile, study):
                path = records.path(paper, profile, point)
                jobs.setdefault(
                    path, Job(paper, study, method, point, path, victim(VictimConfig.from_parameters(point)))
                )
    return list(jobs.values())


def waiting(jobs: list[Job]) -> list[list[Job]]:
    """The runs without a record, in groups that share a victim; the most urgent group first."""
    groups: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        if not job.path.is_file():
            groups.setdefault((*job.urgency, job.victim), []).append(job)
    return [groups[key] for key in sorted(groups)]


def manifest(profile: str) -> pd.DataFrame:
    """A row for every planned run, its `state` either `here` or `missing`."""
    rows = [
        [job.paper, job.study, job.method, job.parameters["dataset"], job.parameters["attack"], job.parameters["seed"],
         job.path.stem, job.victim, "here" if job.path.is_file() else "missing"]
        for job in planned(profile)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def make(job: Job) -> None:
    """Run one job and write its record."""
    record = experiments.run(job.paper, job.parameters)
    record.save(job.path)
    print(f"{job.paper} {job.path.stem}: ACC {record.after.clean_accuracy:.1%}, ASR {record.after.asr:.1%}", flush=True)


def work(groups: Any, said: Any, deadline: float, run: Run = make) -> None:
    """Make one group after the other, to the None that ends them. What fails is told to `said` with its traceback.

    No run starts when less time is left than the longest so far has taken.
    """
    longest = 0.0
    while group := groups.get():
        for job in group:
            start = time.monotonic()
            if start + longest > deadline:
                return
            try:
                run(job)
            except Exception:
                said.put((job.path.stem, traceback.format_exc()))
            longest = max(longest, time.monotonic() - start)


def batch(groups: list[list[Job]], *, jobs: int = 1, seconds: float = float("inf"), run: Run = make) -> dict[str, str]:
    """Make the records of `groups`, `jobs` processes side by side. Returns the failures: a record's name, a traceback.

    After `seconds` those that still run are stopped; they leave nothing behind.
    """
    context, jobs = multiprocessing.get_context("spawn"), min(jobs, len(groups))
    todo, said, deadline = context.Queue(), context.Queue(), time.monotonic() + seconds
    for group in [*groups, *[None] * jobs]:
        todo.put(group)
    workers = [context.Process(target=work, args=(todo, said, deadline, run)) for _ in range(jobs)]
    failures: dict[str, str] = {}
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.1)
            failures |= drained(said)
        died = [worker.exitcode for worker in workers if worker.exitcode]
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
        todo.cancel_join_thread()
    return failures | drained(said) | ({"worker": f"ended with exit status {died}"} if died else {})


def drained(said: Any) -> dict[str, str]:
    """What lies in a queue, by name."""
    found: dict[str, str] = {}
    while True:
        try:
            name, text = said.get_nowait()
        except queue.Empty:
            return found
        found[name] = text


def tell(profile: str) -> str:
    """Write the manifest and the table of all records; returns a sentence that counts them."""
    found = manifest(profile)
    write_whole(RESULTS / profile / "manifest.csv", found.to_csv(index=False).encode())
    if kept := [records.read(path) for path in sorted((RESULTS / profile).glob("*/*.json"))]:
        write_whole(RESULTS / profile / "metrics.csv", records.table(kept).to_csv(index=False).encode())
    here = int((found["state"] == "here").sum())
    return f"{here} of {len(found)} {profile} runs are here, {len(found) - here} are missing."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=notebooks.PROFILES)
    parser.add_argument("--papers", nargs="+", choices=notebooks.papers(), help="only these")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="length of the slice; 0: the manifest alone"
    )
    parser.add_argument("--jobs", type=int, help="runs side by side on one GPU (default: 4, on a CPU 1)")
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    jobs = options.jobs if options.jobs is not None else 4 if gpu else 1
    if jobs < 1 or (jobs > 1 and not gpu):
        parser.error(f"--jobs {jobs}: must be {'at least 1' if gpu else '1 on a CPU, where side by side is slower'}")
    if not options.minutes >= 0:
        parser.error(f"--minutes {options.minutes:g}: must be at least 0")
    groups = waiting(planned(options.profile, options.papers)) if options.minutes else []
    failures = batch(groups, jobs=jobs, seconds=60 * options.minutes)
    print(tell(options.profile))
    for name, text in failures.items():
        print(f"FAILED {name}\n{text}", file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
