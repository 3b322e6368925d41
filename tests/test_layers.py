"""Imports point one way, and the rooms of two papers do not look into each other."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "bdlib").rglob("*.py") if path.name != "__init__.py")
RANK = {name: number for number, names in enumerate((
    ("types", "provenance", "vision"), ("data", "models", "triggers"),
    ("datasets", "poison", "train", "sharpness", "filters", "in_training"), ("evaluate", "analysis"),
    ("adversarial", "all_to_all", "isolation", "keyed", "polarizer", "pruning", "salience", "selection", "shaking",
     "steering", "surrogates", "targeted", "unlearning", "visibility", "weights"),
    ("attacks",), ("defenses",),
    ("mechanisms",), ("recipes",), ("victims", "records", "parameters"),
    ("notebooks", "figures", "tables", "expressions"),
    ("plots", "ledger", "paired"), ("experiments",), ("batch", "claims", "comparison"), ("panels",),
)) for name in names}  # fmt: skip
CLOSED = {"poison", "triggers", "all_to_all", "attacks", "steering", "analysis"}  # what holds the attack no defence may
SCORING = {"predict", "share"}  # open, nor anything that scores it: a defender counts on the clean images alone
BASELINES = {"fine_tune"}  # a paper's method may build on one


def room(path: Path) -> str:
    return path.relative_to(ROOT / "bdlib").with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_point_down(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bdlib."):
            words = node.module.split(".")
            if words[1] == room(path) and words[-1] in BASELINES:
                continue
            if room(path) == "defenses":
                assert words[1] not in CLOSED, f"{path.name} must not import {node.module}"
                assert words[1] != "evaluate" or {name.name for name in node.names} <= SCORING, path.name
            assert RANK[words[1]] < RANK[room(path)], f"{path.name} must not import {node.module}"


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
    code = f"import {', '.join(names)}; from bdlib.vision import torchvision; torchvision.models.resnet18()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
