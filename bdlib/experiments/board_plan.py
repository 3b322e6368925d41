"""The runs that the board plans beside the chapters: attack x poison rate x defence, in order of interest.

A run of the board is a run of a chapter, with the chapter's own defence at the settings of the profile, on another
victim. So it has the same record, in the chapter's folder, and where a chapter plans it too it is made once.
`notebooks/params/<profile>/board.records.yaml` lists the runs; a profile without this file plans none.
"""

import functools
import itertools
from typing import Any, NamedTuple

from bdlib.checks import ParameterError
from bdlib.experiments import notebooks, pages
from bdlib.experiments.parameters import decisive, defenses_of, overridden
from bdlib.files import FileError

BOARD = "board"  # stands where the key of a page stands, and for the study of the runs that no chapter plans
SHARED_PAGES = ("comparison", "survey")  # they run the defences that have no chapter of their own
VARIED = ("defense", "attack", "poison_rate", "seed")  # what a line of the plan must say, and nothing else


class BoardRun(NamedTuple):
    """One planned run: the chapter that it belongs to, its defence, its parameters, and its place in the order."""

    paper: str
    defense: str
    parameters: dict[str, Any]
    tier: int  # the position of its study in the file; the runs of the first tier are made first


def page_of(defense: str) -> str:
    """The chapter whose settings are the headline settings of a defence: a paper's own, the comparison for baselines.

    A defence that no page runs is its own page, which is then not found.

    Example: `page_of("anp")` is "comparison".
    """
    if defense in notebooks.papers():
        return defense
    return next((page for page in SHARED_PAGES if defense in defenses_of(page)), defense)


def board_runs(profile: str) -> list[BoardRun]:
    """Every run of the board at a profile, once, in the order of the file.

    Raises FileError or ParameterError, in one line that names the file, for what cannot be run.

    Example: `board_runs("quick")[0].defense`
    """
    return list(_board_runs(profile, pages.changed(BOARD), tuple(map(pages.changed, notebooks.papers()))))


@functools.lru_cache
def _board_runs(profile: str, changed: tuple[int, ...], others: tuple[tuple[int, ...], ...]) -> tuple[BoardRun, ...]:
    """As `board_runs`; made again when the time of change of the plan, or of a chapter, is another."""
    tiers = enumerate(_tiers(profile))
    return tuple(run for tier, lines in tiers for line in lines for run in _of_line(profile, line, tier))


def _tiers(profile: str) -> list[list[dict[str, Any]]]:
    """The lines of each study of the plan, once their keys are checked."""
    path = pages.profile_file(BOARD, profile, ".records")
    studies = pages.study_lines(BOARD, profile)
    for name, lines in studies.items():
        for line in lines:
            if {*line} != {"method", *VARIED}:
                raise FileError(f"{path}: {name}: {', '.join(line)}: must be method, {', '.join(VARIED)}")
    return list(studies.values())


def _of_line(profile: str, line: dict[str, Any], tier: int) -> list[BoardRun]:
    """The runs of one line: all combinations of its lists, all defences of a victim side by side."""
    runs, path = [], pages.profile_file(BOARD, profile, ".records")
    for seed, rate, attack, defense in itertools.product(*(line[name] for name in reversed(VARIED))):
        paper = page_of(defense)
        if paper not in notebooks.papers() or defense not in defenses_of(paper):
            raise ParameterError(f"{path}: defense={defense!r}: no chapter runs it")
        changes = {"attack": attack, "poison_rate": rate, "seed": seed}
        base = notebooks.parameters(paper, profile)
        changes |= {"defense": defense} if "defense" in base else {}
        with notebooks.blaming(path):
            runs.append(BoardRun(paper, defense, decisive(overridden(paper, base | changes)), tier))
    return runs
