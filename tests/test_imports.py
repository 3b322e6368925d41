"""Imports point one way, and the rooms of two papers do not look into each other."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bdlib
import bdlib.defenses
from bdlib.defenses import DEFENSES

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "bdlib").rglob("*.py") if path.name != "__init__.py")


def test_imports_point_down_and_no_defense_sees_the_attack():
    """The contracts stand in pyproject.toml; import-linter follows imports through other modules too."""
    program = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run([program, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def public_names_imported(source: str) -> set[str]:
    """The names of the public face that some code takes from `bdlib` itself, which the contracts cannot follow."""
    nodes = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module == "bdlib"
    ]
    return {alias.name for node in nodes for alias in node.names} & set(bdlib.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_room_takes_what_it_needs_from_the_public_face(path):
    assert public_names_imported("from bdlib import poison, triggers") == {"poison"}
    assert not public_names_imported(path.read_text())


def test_the_public_face_is_about_twenty_names_and_each_is_there():
    assert 15 <= len(bdlib.__all__) <= 26
    assert all(getattr(bdlib, name) is not None for name in bdlib.__all__)
    with pytest.raises(AttributeError, match="no attribute 'poisson'; it has"):
        bdlib.poisson  # noqa: B018


@pytest.mark.parametrize("key", DEFENSES)
def test_a_defenses_name_is_its_module_and_no_function(key):
    module = importlib.import_module(f"bdlib.defenses.{key}")
    assert inspect.ismodule(module) and getattr(bdlib.defenses, key) is module
    assert callable(getattr(module, key))


def test_the_hall_is_small():
    assert len(list((ROOT / "bdlib").glob("*.py"))) <= 8


def room(path: Path) -> str:
    return path.relative_to(ROOT / "bdlib").with_suffix("").parts[0]


def body_lines(function: ast.FunctionDef) -> int:
    """The lines of a function's body; its docstring and its signature, a commented keyword a line, are no body."""
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return function.end_lineno - first.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_functions_and_files_stay_short(path):
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert body_lines(node) <= 40, f"{node.name} has {body_lines(node)} lines"
    assert len(source.splitlines()) <= (165 if room(path) == "defenses" else 220)


def test_the_number_of_spins_is_left_to_the_user(monkeypatch):
    """A short one slows two threads that have the machine to themselves by up to a third."""
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    importlib.reload(bdlib)
    assert "GOMP_SPINCOUNT" not in os.environ


def test_nothing_unpickles():
    for path in FILES:
        assert not re.search(r"import pickle|torch\.load\(|allow_pickle=True", path.read_text()), path


def test_bdlib_imports_beside_a_cpu_only_torch():
    """Every module in one fresh process, torchvision through its shim, warnings as errors."""
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in FILES if p.stem != "__main__"]
    code = f"import {', '.join(names)}; from bdlib.data._torchvision import torchvision; torchvision.models.resnet18()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
