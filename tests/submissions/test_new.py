"""`bdlib new`: what it writes runs at once, in a copy of the checkout and alone; what it cannot write is one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bdlib.checks import ParameterError
from bdlib.submissions.new import write_new

ROOT = Path(__file__).parents[2]
KINDS = {"defense": "wash", "attack": "rows", "network": "plain_net", "dataset": "squares"}
RUN_ALL = """# each as `bdlib run` and as the notebook runs it; of the notebook's equation, whether it holds
import contextlib, io, json, sys
import nbformat
from bdlib.experiments import notebooks, records, run
found = []
for name in sys.argv[1:]:
    point = notebooks.parameters(name, "smoke")
    ran, space = run.run(name, point), {}
    for cell in nbformat.read(notebooks.notebook(name), as_version=4).cells:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(cell.source, space)
            if "parameters" in cell.metadata.get("tags", []):
                space |= point
            equal = not cell.outputs or said.getvalue() == cell.outputs[0].text
            assert equal, said.getvalue()
    found.append(space["result"].after == ran.after and space["result"].name == ran.name)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What of the checkout is changed or run, and a new thing of each kind in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in ("bdlib", "notebooks", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "_book"))
    for part in ("results/reported", "book", "zoo/victims.yaml", "pyproject.toml"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    said = {kind: write_new(kind, name, name.upper(), folder / "book") for kind, name in KINDS.items()}
    return folder, said


def python(folder, *words):
    settings = os.environ | {"PYTHONPATH": str(folder), "BDLIB_CACHE": str(folder / "cache"), "BDLIB_RESULTS": ""}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, env=settings)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_all_of_it_passes_its_tests_and_runs_at_smoke_scale(checkout):
    folder, said = checkout
    tests = [line.removeprefix("wrote ") for lines in said.values() for line in lines if "wrote tests/" in line]
    assert len(tests) == 4
    python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "tests/report/test_lifecycle.py::"
           "test_every_method_has_a_place_and_attacks_are_on_their_own_side",
           "tests/attacks/test_toy_attack.py::test_the_registry_has_one_line_and_one_file_for_each_attack",
           "tests/test_promises.py::test_every_defence_has_a_fast_setting",
           *[f"tests/test_models.py::{test}[plain_net]" for test in (
               "test_every_network_classifies_and_normalizes_inside",
               "test_networks_name_their_layers_also_when_copied_or_wrapped")],
           *[f"tests/test_notebooks.py::{test}[{name}]" for name in KINDS.values() for test in (
               "test_form", "test_every_profile_and_study_fits_the_notebook")])  # fmt: skip
    assert json.loads(python(folder, "-W", "ignore", "-c", RUN_ALL, *KINDS.values()).splitlines()[-1]) == [True] * 4


def test_it_keeps_the_rules_of_the_house(checkout):
    folder, said = checkout
    written = [line.split()[-1] for lines in said.values() for line in lines if line.startswith(("wrote", "added"))]
    checked = sorted({path for path in written if path.endswith((".py", ".ipynb"))})
    python(folder, "-m", "ruff", "check", *checked)
    python(folder, "-m", "ruff", "format", "--check", *checked)


@pytest.mark.parametrize("kind", KINDS)
def test_alone_it_is_a_file_and_a_test_that_passes(kind, tmp_path):
    name = KINDS[kind]
    lines = write_new(kind, name, name, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{name}.py", f"test_{name}.py"])
    assert "pytest" in lines[-1]
    module = {}
    exec(compile((tmp_path / f"{name}.py").read_text(), name, "exec"), module)
    sys.modules[name] = type(sys)(name)
    vars(sys.modules[name]).update(module)
    try:
        tests = {}
        exec(compile((tmp_path / f"test_{name}.py").read_text(), name, "exec"), tests)
        for key, test in tests.items():
            if key.startswith("test_"):
                test(*([tmp_path / "images"] if kind == "dataset" else []))
    finally:
        del sys.modules[name]


def test_nothing_is_overwritten_and_names_that_cannot_be_are_one_line(checkout, tmp_path):
    folder, _ = checkout
    before = (folder / "bdlib" / "defenses" / "__init__.py").read_text()
    for kind, name, words in (
        ("defense", "wash", "is taken"), ("attack", "wash", "is taken"), ("defense", "nad", "is taken"),
        ("defense", "npd", "is taken"), ("defense", "no good", "must be lower-case"), ("attack", "class", "no word of"),
        ("network", "../up", "must be lower-case"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            write_new(kind, name, "a title", folder)
    with pytest.raises(ParameterError, match="title"):
        write_new("defense", "fine", 'a "title"', folder)
    assert (folder / "bdlib" / "defenses" / "__init__.py").read_text() == before
    (tmp_path / "mine.py").write_text("kept")
    with pytest.raises(ParameterError, match="is there"):
        write_new("defense", "mine", "mine", tmp_path)
    assert (tmp_path / "mine.py").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


def test_the_page_shows_the_file_that_is_written(tmp_path):
    page = (ROOT / "book" / "contribute" / "your_defense.md").read_text()
    write_new("defense", "wash", "Washing", tmp_path)
    assert f"```python\n{(tmp_path / 'wash.py').read_text()}```" in page
