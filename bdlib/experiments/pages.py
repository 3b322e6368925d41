"""The notebooks as files: the parameters in each, and what the profiles and studies in notebooks/params/ change."""

import ast
import copy
import functools
import os
from pathlib import Path
from typing import Any

import nbformat
import yaml

from bdlib.checks import ParameterError
from bdlib.files import FileError, read_text
from bdlib.folders import ROOT

NOTEBOOKS = ROOT / "notebooks"
PROFILES = ("smoke", "quick", "cifar", "paper")
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


def profiles(paper: str) -> list[str]:
    """The profiles that a paper has, from the smallest; one without a file of parameters has none but its defaults."""
    return [profile for profile in PROFILES if profile_file(paper, profile).is_file()] or [*PROFILES]


def require_profile(paper: str, profile: str) -> None:
    """Raise ParameterError unless a paper has a profile."""
    if profile not in (known := profiles(paper)):
        raise ParameterError(f"profile={profile!r}: must be one of {', '.join(known)} for {paper}")


def changed(paper: str) -> tuple[int, ...]:
    """When the files of a paper were last changed, in nanoseconds: its notebook, and what each profile says of it."""
    return tuple(_time_of_change(path) for path in _files_of(paper, NOTEBOOKS))


@functools.cache
def _files_of(paper: str, folder: Path) -> list[str]:
    """The files of a paper in the folder of notebooks, as text: they are asked for thousands of times."""
    files = [profile_file(paper, profile, kind) for profile in PROFILES for kind in ("", ".records")]
    return [str(path) for path in (notebook(paper), *files)]


def _time_of_change(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def study_lines(paper: str, profile: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of each study of a paper at a profile; a line stands for all combinations of its lists.

    Raises FileError, in one line that names the file and the study, for what is no study.
    """
    path = profile_file(paper, profile, ".records")
    studies = read_settings(path)
    for name, lines in studies.items():
        if not isinstance(lines, list):
            raise FileError(f"{path}: {name}: must be a list of lines")
        for line in lines:
            _check_line(f"{path}: {name}", line)
    return studies


def _check_line(place: str, line: Any) -> None:
    if not isinstance(line, dict) or not isinstance(line.get("method"), str):
        raise FileError(f"{place}: {line!r}: must be a mapping with a method")
    for key, values in line.items():
        if key != "method" and not (isinstance(values, list) and values):
            raise FileError(f"{place}: {key}: {values!r}: must be a list with something in it")
    if not all(isinstance(key, str) for key in line.get("defense", [])):
        raise FileError(f"{place}: defense: {line['defense']!r}: must be a list of names")


def defaults(path: Path) -> dict[str, Any]:
    """The literals assigned in the notebook's one cell tagged `parameters`.

    Raises FileError for what is no notebook, and ParameterError where that cell is none.
    """
    if not path.is_file():
        raise ParameterError(f"paper={path.stem!r}: must be one of {', '.join(papers())}")
    return copy.deepcopy(_defaults(path, path.stat().st_mtime_ns))


@functools.lru_cache
def _defaults(path: Path, changed: int) -> dict[str, Any]:
    """As `defaults`; read again when the file's time of change is another, since a study asks for each of its runs."""
    try:
        notebook = nbformat.read(path, as_version=4)
        tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    except OSError:
        raise
    except Exception as error:  # nbformat raises whatever its steps do
        raise FileError(f"{path}: it is no notebook: {str(error).strip().splitlines()[0][:100]}") from None
    if len(tagged) != 1:
        raise ParameterError(f"{path.name}: {len(tagged)} cells are tagged `parameters`, there must be one")
    try:
        return {name: ast.literal_eval(value) for name, value in _assignments(tagged[0].source)}
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise ParameterError(f"{path.name}: the cell tagged `parameters` must assign literals: {error}") from None


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


def read_settings(path: Path) -> dict[str, Any]:
    """What a YAML file says of each name; nothing if there is no such file. Raises FileError."""
    settings = read_yaml(path)
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise FileError(f"{path}: must be a mapping from names to values")
    return settings


def read_yaml(path: Path) -> Any:
    """A YAML file's content; None if there is no such file. Raises FileError, in one line that names the file."""
    return copy.deepcopy(_yaml(path, path.stat().st_mtime_ns)) if path.exists() else None


class _StrictLoader(YAML):  # type: ignore[misc, valid-type]
    """As YAML, and a key that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            name = next(name for name in names if names.count(name) > 1)
            raise yaml.constructor.ConstructorError(problem=f"{name} is there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


@functools.lru_cache
def _yaml(path: Path, changed: int) -> Any:
    try:
        content = yaml.load(read_text(path), _StrictLoader)
        repr(content)  # a number of more digits than Python writes is an error here, not where it is named
        return content
    except FileError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileError(f"{path}{_line_of(error)}") from None


def _line_of(error: Exception) -> str:
    """Where a YAML file's fault is, and what it is, in one line."""
    mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    return (f", line {mark.line + 1}" if mark else "") + f": it is no YAML: {' '.join(reason.split())}"
