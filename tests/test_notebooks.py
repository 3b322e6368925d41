"""The notebooks as files, and each of them run at smoke scale."""

import ast
import json
import os
import subprocess
import sys

import golden_cases
import golden_file
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from bdlib.checks import ParameterError
from bdlib.experiments import notebooks, records
from bdlib.experiments.notebooks import NOTEBOOKS, PROFILES, execute
from bdlib.experiments.parameters import overridden

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
SECTIONS = [
    "1. Parameters", "2. Set-up", "3. The idea, by hand", "4. The method", "5. The victim", "6. Run", "7. Results",
    "8. Why it works", "9. What it depends on", "10. Paper versus released code", "11. Limits", "Recap", "Quiz",
    "12. Exercises", "13. Provenance", "Where to go next",
]  # fmt: skip
OTHER_SECTIONS = {
    "mp_fair": [name.replace("The victim", "The data") for name in SECTIONS],
    "comparison": [
        "1. Parameters", "2. Set-up", "3. Three baselines", "4. The victim", "5. Run",
        "6. All defences, the same victims", "7. What the order is worth", "8. The price", "9. What each spends",
        "10. Defences that train", "11. Limits", "Recap", "Quiz", "12. Exercises", "13. Provenance",
        "Where to go next",
    ],
    "survey": [
        "1. Parameters", "2. Set-up", "3. The filter, by hand", "4. The method", "5. The victim", "6. Run",
        "7. Combinations", "8. What the filter takes", "9. What each stage costs", "10. Limits", "Recap", "Quiz",
        "11. Exercises", "12. Provenance", "Where to go next",
    ],
    "workshop": [
        "1. Parameters", "2. Set-up", "3. Three networks, and a reading by hand", "4. All readings in one call",
        "5. Confusion matrix", "6. Neurons and filters", "7. Places in the image", "8. Frequencies", "9. t-SNE",
        "10. The weights alone", "11. The loss", "12. What is seen", "13. Four tools in words", "14. Limits",
        "Recap", "Quiz", "15. Exercises", "16. Provenance", "Where to go next",
    ],
    "attacks": [
        "1. Parameters", "2. Set-up", "3. The formulas, by hand", "4. Ten attacks", "5. What the eye sees",
        "6. One victim", "7. The suite", "8. How little poison", "9. All-to-all", "10. Cover samples",
        "11. The trigger alone", "12. A frozen set", "13. Limits", "Recap", "Quiz", "14. Exercises", "15. Provenance",
        "Where to go next",
    ],
}  # fmt: skip
QUIET = {**os.environ, "PYTHONWARNINGS": "ignore"}


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_form(path):
    """A paper's sections, or a page's own; short cells without functions; output only where nbval compares it."""
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert [line[3:] for line in prose.splitlines() if line.startswith("## ")] == OTHER_SECTIONS.get(
        path.stem, SECTIONS
    )
    assert sum("parameters" in tags(cell) for cell in cells(path)) == 1
    for cell in cells(path):
        assert bool(cell.outputs) == ("nbval-check-output" in tags(cell)), cell.source
        if "parameters" not in tags(cell):
            assert len(cell.source.splitlines()) <= 15, cell.source
        if "google.colab" not in cell.source:
            assert not [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, (ast.FunctionDef, ast.Try))]
        if cell.source.endswith(";"):
            figure = cell.metadata["mystnb"]
            assert figure["figure"]["caption"] and figure["image"]["alt"]
    assert any("nbval-check-output" in tags(cell) for cell in cells(path))
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_profile_and_study_fits_the_notebook(path):
    for profile in PROFILES:
        assert notebooks.parameters(path.stem, profile)["record"] == ""
        paths = [records.path(path.stem, profile, point) for point in notebooks.grid(path.stem, profile)]
        assert len(paths) == len(set(paths))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Notebooks share a cache that begins empty: victims of the real one may have been trained by more threads."""
    return QUIET | {"BDLIB_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_at_smoke_scale_and_its_equations_hold(path, tmp_path, quiet):
    """Papermill writes the smoke parameters in; nbval runs every cell and compares those that are marked.

    The golden file holds the record that `golden_cases` made of the same parameters without the notebook.
    """
    changes = smoke(path) | {"record": str(tmp_path / "record.json")}
    prepared = execute(path, tmp_path / path.name, changes, prepare_only=True)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider",
               "-c", os.devnull, "--rootdir", str(tmp_path), str(prepared)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    golden, case = golden_file.read(), f"record/{path.stem}"
    ours = golden_cases.of_record(json.loads((tmp_path / "record.json").read_text()))
    same_machine = golden_cases.machine() == golden["made_on"]
    found = golden_file.differences(golden["cases"][case], ours, same_machine=same_machine)
    assert not found, f"{case}, as the notebook makes it, is not what the golden file says: {found}"


def smoke(path):
    return notebooks.read_yaml(notebooks.profile_file(path.stem, "smoke"))


def test_a_changed_equation_is_noticed(tmp_path):
    """The strict comparison can fail: with another power, the hand-made map is no longer the library's."""
    path = NOTEBOOKS / "nad.ipynb"
    checked = next(cell for cell in cells(path) if "nbval-check-output" in tags(cell))
    checked.source = checked.source.replace("features**2", "features**4")
    header = new_code_cell("import torch\nfrom bdlib.defenses.nad import attention", execution_count=1)
    nbformat.write(new_notebook(cells=[header, checked]), tmp_path / "changed.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider",
               "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path / "changed.ipynb")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=QUIET, cwd=tmp_path)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout


def test_the_notebook_and_the_batch_make_the_same_record(tmp_path):
    """What papermill's run writes is what `bdlib.experiments.run` computes, but for the runtime facts."""
    changes = smoke(NOTEBOOKS / "nad.ipynb") | {"attack": "blended", "clean_fraction": 0.1, "seed": 5}
    execute(NOTEBOOKS / "nad.ipynb", tmp_path / "out.ipynb", changes | {"record": str(tmp_path / "r.json")})
    script = f"from bdlib.experiments.run import run; print(run('nad', {overridden('nad', changes)!r}).text())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=QUIET, check=True)
    ours, theirs = json.loads((tmp_path / "r.json").read_text()), json.loads(done.stdout)
    assert ours.pop("runtime") and theirs.pop("runtime")
    assert ours == theirs


def test_plain_papermill_stops_at_a_misspelt_parameter_before_any_compute(tmp_path):
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "nad.ipynb"), str(tmp_path / "out.ipynb"),
               "-p", "clean_fractoin", "0.01", "--no-progress-bar"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=QUIET)
    assert done.returncode == 1
    assert "ParameterError: clean_fractoin: no such parameter; this notebook has attack, clean_fraction" in done.stderr
    ran = [cell.source for cell in cells(tmp_path / "out.ipynb") if cell.execution_count]
    assert 'check("nad", globals())' in ran[-1]


def test_the_strict_call_stops_before_a_kernel_starts(tmp_path):
    command = [sys.executable, "-m", "bdlib.cli", "notebook", "nad", str(tmp_path / "out.ipynb"),
               "-p", "clean_fraction=7"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=QUIET)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.strip() == "ParameterError: clean_fraction=7: must be a number above 0, at most 0.5"
    with pytest.raises(ParameterError, match="sede"):
        execute(NOTEBOOKS / "nad.ipynb", tmp_path / "out.ipynb", {"sede": 1})


@pytest.mark.parametrize("end", ["raise SystemError('broken')", "import os; os.kill(os.getpid(), 9)"])
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_that_does_not_finish_leaves_no_result(tmp_path, end):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    first = new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[first, new_code_cell(end)], metadata=kernel), tmp_path / "in.ipynb")
    (tmp_path / "out.ipynb").write_text("an earlier result")
    with pytest.raises(Exception, match="broken|[Kk]ernel"):
        execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"seed": 1})
    assert (tmp_path / "out.ipynb").read_text() == "an earlier result"
    assert (tmp_path / "out.failed.ipynb").exists()
