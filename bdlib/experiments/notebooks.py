"""What a paper's notebook is run with: its profiles, the runs of its studies, and a strict call of papermill.

Example::

    bdlib notebook nad out.ipynb -p seed=3

does what plain papermill does, and stops before starting a kernel when a parameter is misspelt or out of range. The
output appears only when the whole notebook ran; after a failure it is left as out.failed.ipynb.
"""

import itertools
import tempfile
import uuid
from pathlib import Path
from typing import Any

from bdlib.experiments.pages import (
    NOTEBOOKS,
    PROFILES,
    defaults,
    notebook,
    papers,
    profile_file,
    read_yaml,
    study_lines,
)
from bdlib.experiments.parameters import check_names, decisive, overridden

__all__ = ["NOTEBOOKS", "PROFILES", "execute", "grid", "notebook", "papers", "parameters", "profile_file", "read_yaml",
           "studies", "study"]  # fmt: skip


def parameters(paper: str, profile: str) -> dict[str, Any]:
    """All parameters with which a profile runs a paper's notebook."""
    return overridden(paper, read_yaml(profile_file(paper, profile)) or {})


def study(paper: str, profile: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The runs of one study of a paper: what the chapter calls each, and the parameters that decide its numbers.

    Studies are listed in params/<profile>/<paper>.records.yaml; a line there means all combinations of its lists.
    """
    base = parameters(paper, profile)
    runs = []
    for line in study_lines(paper, profile).get(name, []):
        varied = {key: values for key, values in line.items() if key != "method"}
        for values in itertools.product(*varied.values()):
            point = overridden(paper, base | dict(zip(varied, values, strict=True)))
            runs.append((line["method"], decisive(point)))
    return runs


def studies(paper: str, profile: str) -> list[str]:
    """The names of a paper's studies at a profile."""
    return list(study_lines(paper, profile))


def grid(paper: str, profile: str) -> list[dict[str, Any]]:
    """The parameters of every record of a paper at a profile: all its studies, without repeats."""
    points: list[dict[str, Any]] = []
    for name in studies(paper, profile):
        points += [point for _, point in study(paper, profile, name) if point not in points]
    return points


def execute(path: Path, out: Path, changes: dict[str, Any], *, prepare_only: bool = False) -> Path:
    """Run the notebook at `path` by papermill with `changes` to its parameters; `prepare_only` does not run it.

    Returns `out`, which is written only on success; after a failure it is left as <out>.failed.ipynb. Raises
    ParameterError before any compute.

    >>> execute(pages.notebook("nad"), Path("out.ipynb"), {"seed": 3})
    """
    import papermill
    from traitlets.config import Config

    check_names(path.name, defaults(path), changes)
    if path == notebook(path.stem):  # another notebook checks its values itself, in its first cells
        overridden(path.stem, changes)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(".part.ipynb")
    connection = Path(tempfile.gettempdir()) / f"bdlib-{uuid.uuid4().hex}.json"
    # Sockets, not ports: notebooks that start side by side else take each other's.
    manager = Config({"KernelManager": {"transport": "ipc", "connection_file": str(connection)}})
    try:
        papermill.execute_notebook(
            str(path), str(draft), parameters=changes, prepare_only=prepare_only, config=manager,
            progress_bar=False, log_output=True, kernel_name="python3",
        )  # fmt: skip
    except BaseException:
        if draft.exists():
            draft.replace(out.with_suffix(".failed.ipynb"))
        raise
    draft.replace(out)
    return out
