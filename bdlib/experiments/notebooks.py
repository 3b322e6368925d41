"""The notebooks as files: their parameters, the grids of runs behind their records, and a strict call of papermill.

    python -m bdlib.notebooks notebooks/nad.ipynb out.ipynb -f notebooks/params/quick/nad.yaml -p seed 3

does what plain papermill does, and stops before starting a kernel when a parameter is misspelt or out of range. The
output appears only when the whole notebook ran; after a failure it is left as out.failed.ipynb.
"""

import argparse
import ast
import copy
import functools
import itertools
import tempfile
import uuid
from pathlib import Path
from typing import Any

import nbformat
import yaml

from bdlib.experiments.parameters import ParameterError, assigned_names, validated
from bdlib.runtime import ROOT

NOTEBOOKS = ROOT / "notebooks"
PROFILES = ("smoke", "quick", "paper")
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where the library in C is there


def papers() -> list[str]:
    """The keys of all notebooks."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def defaults(path: Path) -> dict[str, Any]:
    """The literals assigned in the notebook's one cell tagged `parameters`."""
    return copy.deepcopy(defaults_at(path, path.stat().st_mtime_ns))


@functools.lru_cache
def defaults_at(path: Path, changed: int) -> dict[str, Any]:
    """As `defaults`, read once for every time the file has `changed`: a study asks for each of its runs."""
    notebook = nbformat.read(path, as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"{path.name}: {len(tagged)} cells are tagged `parameters`, there must be one")
    source = tagged[0].source
    values = [node.value for node in ast.parse(source).body if isinstance(node, (ast.Assign, ast.AnnAssign))]
    return dict(zip(assigned_names(source), [ast.literal_eval(v) for v in values if v], strict=True))


def overridden(path: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The notebook's parameters with `changes` made. Raises ParameterError for one that it does not have."""
    known = defaults(path)
    for name in changes:
        if name not in known:
            raise ParameterError(f"{name}: no such parameter; {path.name} has {', '.join(known)}")
    return validated(known | changes)


def profile_file(paper: str, profile: str, kind: str = "") -> Path:
    return NOTEBOOKS / "params" / profile / f"{paper}{kind}.yaml"


def parameters(paper: str, profile: str) -> dict[str, Any]:
    """All parameters with which a profile runs a paper's notebook."""
    return overridden(NOTEBOOKS / f"{paper}.ipynb", read_yaml(profile_file(paper, profile)) or {})


def study(paper: str, profile: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The runs of one study of a paper: what the chapter calls each, and its parameters.

    Studies stand in params/<profile>/<paper>.records.yaml; a line there stands for all combinations of its lists.
    """
    base = parameters(paper, profile)
    runs = []
    for line in (read_yaml(profile_file(paper, profile, ".records")) or {}).get(name, []):
        names = [key for key in line if key != "method"]
        for values in itertools.product(*(line[key] for key in names)):
            point = overridden(NOTEBOOKS / f"{paper}.ipynb", base | dict(zip(names, values, strict=True)))
            del point["record"]
            runs.append((line["method"], point))
    return runs


def studies(paper: str, profile: str) -> list[str]:
    """The names of a paper's studies at a profile."""
    return list(read_yaml(profile_file(paper, profile, ".records")) or {})


def grid(paper: str, profile: str) -> list[dict[str, Any]]:
    """The parameters of every record of a paper at a profile: all its studies, without repeats."""
    points: list[dict[str, Any]] = []
    for name in studies(paper, profile):
        points += [point for _, point in study(paper, profile, name) if point not in points]
    return points


def read_yaml(path: Path) -> Any:
    """A YAML file's content, None where there is no such file."""
    return yaml.load(path.read_text(), YAML) if path.is_file() else None


def execute(path: Path, out: Path, changes: dict[str, Any], *, prepare_only: bool = False) -> Path:
    """Run a notebook by papermill with `changes` to its parameters; returns `out`, there only on success.

    Raises ParameterError before any compute. `prepare_only` writes the parameters in without running.
    """
    import papermill
    from traitlets.config import Config

    overridden(path, changes)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-f", "--file", type=Path, help="YAML file of parameters")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--prepare-only", action="store_true", help="write the parameters in, run nothing")
    options = parser.parse_args()
    if options.file and not options.file.is_file():
        parser.error(f"--file {options.file}: no such file")
    changes = (read_yaml(options.file) or {}) if options.file else {}
    changes |= {name: yaml.safe_load(value) for name, value in options.parameter}
    try:
        execute(options.notebook, options.out, changes, prepare_only=options.prepare_only)
    except ParameterError as error:
        parser.exit(2, f"ParameterError: {error}\n")


if __name__ == "__main__":
    main()
