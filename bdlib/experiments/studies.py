"""The records of a study, as the chapters read them."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from bdlib.experiments import notebooks, records
from bdlib.experiments.board_plan import BOARD, board_runs
from bdlib.experiments.config import VictimConfig, added_settings
from bdlib.experiments.parameters import decisive

SHARED_CONTROL = "shared control"  # the method of the study `shared_control` of the page `comparison`
T = TypeVar("T")
_READ: ContextVar[dict[Hashable, Any] | None] = ContextVar("_READ", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Within the block every study is read once, and every claim judged once: records that come later are not seen.

    Example: ``with reading_once(): verdicts = [judge(claim, "quick") for claim in load_claims()]``
    """
    token = _READ.set({} if (known := _READ.get()) is None else known)
    try:
        yield
    finally:
        _READ.reset(token)


def once(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives; within a block of `reading_once`, what it gave the first time that `key` was asked for."""
    if (known := _READ.get()) is None:
        return make()
    if key not in known:
        known[key] = make()
    return known[key]


def load_study(paper: str, profile: str, name: str) -> pd.DataFrame:
    """The records of one study as a table, with a column `method`; empty, with its columns, when none has been run.

    A record that is damaged is warned about, by the name of its file, and counts as missing.

    Example: `load_study("nad", "quick", "headline")`
    """
    return once((paper, profile, name), lambda: _read_study(paper, profile, name)).copy()


def _read_study(paper: str, profile: str, name: str) -> pd.DataFrame:
    """As `load_study`, always from the files."""
    planned = [(records.path(paper, profile, point), method) for method, point in notebooks.study(paper, profile, name)]
    present = records.read_present(dict(planned))
    runs = [(present[path], method) for path, method in planned if path in present]
    table = records.table([run for run, _ in runs])
    if not runs:
        table = records.no_runs(decisive(notebooks.parameters(paper, profile)))
    return table.assign(method=[method for _, method in runs])


def at_all_scales(paper: str, name: str = "headline") -> dict[str, pd.DataFrame]:
    """One study's records at every scale, the largest scale first; smoke says nothing and is left out.

    Example: `at_all_scales("nad")["cifar"]`
    """
    return {scale: load_study(paper, scale, name) for scale in reversed(notebooks.PROFILES) if scale != "smoke"}


def load_headline(paper: str, profile: str) -> pd.DataFrame:
    """The headline study of a chapter on a repair, and beside it the one control that all these chapters share.

    The control is fine-tuning at the highest rate that the clean accuracy bears (`bdlib.defenses.fine_tune`), for as
    many epochs as the longest schedule among the chapters. Its runs belong to the page `comparison`.

    Example: `load_headline("rnp", "quick")`
    """
    return with_shared_control(load_study(paper, profile, "headline"), profile)


def with_shared_control(runs: pd.DataFrame, profile: str) -> pd.DataFrame:
    """`runs`, and below them those of the shared control on the same victims with the same clean images."""
    if "shared_control" not in notebooks.studies("comparison", profile):
        return runs
    control = load_study("comparison", profile, "shared_control")
    control = control[on_same_victims(control.to_dict("records"), runs.to_dict("records"))]
    return pd.concat([runs, control], ignore_index=True) if len(control) else runs


def planned_control(points: list[tuple[str, dict[str, Any]]], profile: str) -> list[tuple[str, dict[str, Any]]]:
    """What the shared control plans on the victims of a study. `points` are the study's: pairs of method and run."""
    if "shared_control" not in notebooks.studies("comparison", profile):
        return []
    control = notebooks.study("comparison", profile, "shared_control")
    same = on_same_victims([point for _, point in control], [point for _, point in points])
    return [pair for pair, is_same in zip(control, same, strict=True) if is_same]


def on_same_victims(points: Iterable[dict[Any, Any]], others: list[dict[Any, Any]]) -> list[bool]:
    """Which of the `points` have the victim and the clean images of one of the `others`: parameters of runs.

    Runs without an attack have no victim, and so share none.
    """
    names = [*(field.name for field in fields(VictimConfig)), "clean_fraction"]
    shared = [name for name in names if name in others[0]] if others and "attack" in others[0] else []
    known = {tuple(point[name] for name in shared) for point in others}
    added = added_settings()  # a page without one of them has its default
    return [bool(shared) and tuple((added | point).get(name) for name in shared) in known for point in points]


def planned_records(paper: str, profile: str) -> list[Path]:
    """The records that a paper's studies plan, each once: points that differ in no number share a record.

    Example: `planned_records("nad", "quick")[0].is_file()`
    """
    return list(dict.fromkeys(records.path(paper, profile, point) for point in notebooks.grid(paper, profile)))


def freshness(paper: str, profile: str = "quick") -> str:
    """A sentence: how many of a paper's planned records are here, and the commits that made them.

    A record that was made by another version of the code has another name: it counts as missing.
    """
    planned = planned_records(paper, profile)
    present = records.read_present(planned).values()
    commits = ", ".join(sorted({record.runtime["commit"] for record in present}))
    origin = f" (made by commit {commits})" if present else ""
    return f"{len(present)} of {len(planned)} {profile} records are here{origin}."


def progress(profile: str) -> pd.DataFrame:
    """How many of the runs that each notebook's studies plan are here: columns paper, planned, here.

    The last row is "board": the runs of the board that no chapter plans.
    """
    planned = {paper: planned_records(paper, profile) for paper in notebooks.papers()}
    known = {path for paths in planned.values() for path in paths}
    of_board = dict.fromkeys(records.path(run.paper, profile, run.parameters) for run in board_runs(profile))
    planned[BOARD] = [path for path in of_board if path not in known]
    rows = [[paper, len(paths), len(records.read_present(paths))] for paper, paths in planned.items()]
    return pd.DataFrame(rows, columns=["paper", "planned", "here"])
