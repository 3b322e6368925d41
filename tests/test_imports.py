"""Imports point one way, and the rooms of two papers do not look into each other."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "bdlib").rglob("*.py") if path.name != "__init__.py")


def test_imports_point_down_and_no_defense_sees_the_attack():
    """The contracts stand in pyproject.toml; import-linter follows imports through other modules too."""
    program = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run([program, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def room(path: Path) -> str:
    return path.relative_to(ROOT / "bdlib").with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_functions_and_files_stay_short(path):
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
    assert len(source.splitlines()) <= (100 if room(path) == "defenses" else 260)


def test_nothing_unpickles():
    for path in FILES:
        assert not re.search(r"import pickle|torch\.load\(|allow_pickle=True", path.read_text()), path


def test_bdlib_imports_beside_a_cpu_only_torch():
    """Every module in one fresh process, torchvision through its shim, warnings as errors."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
    code = f"import {', '.join(names)}; from bdlib.data._torchvision import torchvision; torchvision.models.resnet18()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
