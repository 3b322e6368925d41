"""What a paper's notebook is run with: its profiles, the runs of its studies, and a strict call of papermill.

Example::

    bdlib notebook nad out.ipynb -p seed=3

does what plain papermill does, and stops before starting a kernel when a parameter is misspelt or out of range. The
output appears only when the whole notebook ran; after a failure it is left as out.failed.ipynb.
"""

import copy
import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from bdlib.checks import ParameterError
from bdlib.experiments import pages
from bdlib.experiments.pages import (
    NOTEBOOKS,
    PROFILES,
    defaults,
    notebook,
    papers,
    profile_file,
    profiles,
    read_settings,
    read_yaml,
    require_profile,
    study_lines,
)
from bdlib.experiments.parameters import check_names, decisive, overridden
from bdlib.experiments.places import check_place, kernel_folder, write_or_rescue
from bdlib.words import OneLineError

__all__ = ["NOTEBOOKS", "PROFILES", "NotebookError", "blaming", "execute", "grid", "notebook", "papers", "parameters",
           "profile_file", "profiles", "read_settings", "read_yaml", "require_profile", "studies", "study"]  # fmt: skip


def parameters(paper: str, profile: str) -> dict[str, Any]:
    """All parameters with which a profile runs a paper's notebook. Raises FileError or ParameterError."""
    path = profile_file(paper, profile)
    with blaming(path):
        return overridden(paper, read_settings(path))


def study(paper: str, profile: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The runs of one study of a paper: what the chapter calls each, and the parameters that decide its numbers.

    Studies are listed in params/<profile>/<paper>.records.yaml; a line there means all combinations of its lists.
    Raises FileError or ParameterError, which names the file.
    """
    return copy.deepcopy(_study(paper, profile, name, pages.changed(paper)))


@functools.lru_cache
def _study(paper: str, profile: str, name: str, changed: tuple[int, ...]) -> list[tuple[str, dict[str, Any]]]:
    """As `study`; made again when a file's time of change is another, since claims ask for each study many times."""
    base = parameters(paper, profile)
    runs = []
    for line in study_lines(paper, profile).get(name, []):
        varied = {key: values for key, values in line.items() if key != "method"}
        for values in itertools.product(*varied.values()):
            with blaming(profile_file(paper, profile, ".records")):
                point = overridden(paper, base | dict(zip(varied, values, strict=True)))
            runs.append((line["method"], decisive(point)))
    return runs


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """A ParameterError that is raised in the block names the file from which the parameters come."""
    try:
        yield
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None


def studies(paper: str, profile: str) -> list[str]:
    """The names of a paper's studies at a profile."""
    return list(_study_names(paper, profile, pages.changed(paper)))


@functools.lru_cache
def _study_names(paper: str, profile: str, changed: tuple[int, ...]) -> tuple[str, ...]:
    """As `studies`; read again when a file's time of change is another, since every claim asks for them."""
    return tuple(study_lines(paper, profile))


def grid(paper: str, profile: str) -> list[dict[str, Any]]:
    """The parameters of every record of a paper at a profile: all its studies, without repeats."""
    points: list[dict[str, Any]] = []
    for name in studies(paper, profile):
        for _, point in study(paper, profile, name):
            if point not in points:
                points.append(point)
    return points


class NotebookError(OneLineError, RuntimeError):
    """A notebook did not run to its end. The message is one line: its error, and where the notebook is as it stood."""


def execute(path: Path, out: Path, changes: dict[str, Any], *, prepare_only: bool = False) -> Path:
    """Run the notebook at `path` by papermill with `changes` to its parameters; `prepare_only` does not run it.

    Returns where the notebook is: `out`, which is written only on success, or where `write_or_rescue` put it if that
    place has vanished in the meantime. Raises ParameterError before any compute, also for an `out` that cannot be
    written, and NotebookError after a failure, which leaves the notebook as <out>.failed.ipynb.

    >>> execute(pages.notebook("nad"), Path("out.ipynb"), {"seed": 3})
    """
    import papermill
    from traitlets.config import Config

    check_names(path.name, defaults(path), changes)
    if path == notebook(path.stem):  # another notebook checks its values itself, in its first cells
        overridden(path.stem, changes)
    if out.resolve() == path.resolve():
        raise ParameterError(f"out={str(out)!r}: must be another file than the notebook")
    check_place("out", out)
    with kernel_folder() as (folder, transport):
        draft, connection = folder / "draft.ipynb", str(folder / "k.json")
        manager = Config({"KernelManager": {"transport": transport, "connection_file": connection}})
        try:
            executed = papermill.execute_notebook(
                str(path), str(draft), parameters=changes, prepare_only=prepare_only, config=manager,
                progress_bar=False, log_output=True, kernel_name="python3",
            )  # fmt: skip
        except Exception as error:
            reason = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
            raise NotebookError(f"{path.name}: {reason.splitlines()[0]}{_kept(draft, out)}") from error
        except BaseException:  # it was interrupted
            _kept(draft, out)
            raise
        executed.metadata.papermill.output_path = str(out)
        return write_or_rescue(
            out, nbformat.writes(executed).encode(errors="backslashreplace")
        )  # a path may be no UTF-8


def _kept(draft: Path, out: Path) -> str:
    """Words that say where a notebook that has failed is kept as it stood."""
    if not draft.exists():
        return ""
    return f"; see {write_or_rescue(out.with_suffix('.failed.ipynb'), draft.read_bytes())}"
