"""The notebooks as files: the parameters in each, and what the profiles and studies in notebooks/params/ change."""

import ast
import copy
import functools
from pathlib import Path
from typing import Any

import nbformat
import yaml

from bdlib.checks import ParameterError
from bdlib.runtime import ROOT

NOTEBOOKS = ROOT / "notebooks"
PROFILES = ("smoke", "quick", "paper")
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where the library in C is there


def papers() -> list[str]:
    """The keys of all notebooks."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def notebook(paper: str) -> Path:
    """The notebook of one paper."""
    return NOTEBOOKS / f"{paper}.ipynb"


def profile_file(paper: str, profile: str, kind: str = "") -> Path:
    """The YAML file of a paper at a profile; `kind` is ".records" for the one of its studies."""
    return NOTEBOOKS / "params" / profile / f"{paper}{kind}.yaml"


def study_lines(paper: str, profile: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of each study of a paper at a profile; a line stands for all combinations of its lists."""
    return read_yaml(profile_file(paper, profile, ".records")) or {}


def defaults(path: Path) -> dict[str, Any]:
    """The literals assigned in the notebook's one cell tagged `parameters`."""
    return copy.deepcopy(_defaults(path, path.stat().st_mtime_ns))


@functools.lru_cache
def _defaults(path: Path, changed: int) -> dict[str, Any]:
    """As `defaults`; read again when the file's time of change is another, since a study asks for each of its runs."""
    notebook = nbformat.read(path, as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"{path.name}: {len(tagged)} cells are tagged `parameters`, there must be one")
    return {name: ast.literal_eval(value) for name, value in _assignments(tagged[0].source)}


def assigned_names(source: str) -> list[str]:
    """The names assigned at the top level of some code."""
    return [name for name, _ in _assignments(source)]


def _assignments(source: str) -> list[tuple[str, ast.expr]]:
    """Each name that is assigned at the top level of some code, with what it is assigned."""
    pairs = list[tuple[ast.expr, ast.expr | None]]()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            pairs.append((node.target, node.value))
    return [(target.id, value) for target, value in pairs if isinstance(target, ast.Name) and value]


def read_yaml(path: Path) -> Any:
    """A YAML file's content; None if there is no such file."""
    return copy.deepcopy(_yaml(path, path.stat().st_mtime_ns)) if path.is_file() else None


@functools.lru_cache
def _yaml(path: Path, changed: int) -> Any:
    return yaml.load(path.read_text(), YAML)
