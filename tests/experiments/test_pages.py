"""Notebooks, profiles and studies that are damaged: one line that names the file."""

import json

import pytest

from bdlib.checks import ParameterError
from bdlib.experiments import notebooks, pages
from bdlib.experiments.pages import NOTEBOOKS, defaults, read_yaml, study_lines
from bdlib.files import FileError

STUDIES = {
    "headline: 3": "headline: must be a list", "headline: [3]": "headline: 3: must be a mapping with a method",
    "headline: [{seed: [0]}]": "must be a mapping with a method", "headline: [{method: 3}]": "with a method",
    "headline: [{method: a, seed: 3}]": "headline: seed: 3: must be a list",
    "headline: [{method: a, seed: []}]": r"headline: seed: \[\]: must be a list",
    "headline: [{method: a, defense: [[nad]]}]": "defense: .*: must be a list of names",
    "headline: [{method: a, sede: [1]}]": "sede: no such parameter",
    "headline: [{method: a, seed: [x]}]": "seed='x': must be",
    "headline: [{method: a, defense: [nat]}]": "defense",
    "headline: []\nheadline: []": "line 1: it is no YAML: headline is there twice",
    "- 1": "must be a mapping", "a: [": "it is no YAML", "1: []": "must be a mapping from names",
}  # fmt: skip


@pytest.fixture
def params(tmp_path, monkeypatch):
    """The folder of a smoke profile of which each file can be damaged, beside the notebooks as they are."""
    monkeypatch.setattr(pages, "NOTEBOOKS", tmp_path)
    (tmp_path / "nad.ipynb").write_bytes((NOTEBOOKS / "nad.ipynb").read_bytes())
    folder = tmp_path / "params" / "smoke"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("text", STUDIES)
def test_a_damaged_study_is_named(text, params):
    (params / "nad.records.yaml").write_text(text)
    with pytest.raises(ValueError, match=STUDIES[text]) as error:
        for name in notebooks.studies("nad", "smoke"):
            notebooks.study("nad", "smoke", name)
    assert isinstance(error.value, (FileError, ParameterError)) and "\n" not in str(error.value)
    assert str(params / "nad") in str(error.value)


@pytest.mark.parametrize("text", ["- 1", "3", "seed: [", "seed: 1\nseed: 2", "sede: 1", "seed: x", "seed: !!int x"])
def test_a_damaged_profile_is_named(text, params):
    (params / "nad.yaml").write_text(text)
    with pytest.raises((FileError, ParameterError), match=str(params / "nad.yaml")) as error:
        notebooks.parameters("nad", "smoke")
    assert "\n" not in str(error.value)


def cell(source):
    tagged = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source, "outputs": [],
              "execution_count": None}  # fmt: skip
    return json.dumps({"cells": [tagged], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}).encode()


@pytest.mark.parametrize("content", [
    b"", b"[1]", b"3", b"{}", b'{"cells": 3}', b'{"nbformat": 9}', b"\x89PNG\xff", b"not a notebook",
    b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}', cell("x = open(1)"), cell("x = ("),
    (NOTEBOOKS / "nad.ipynb").read_bytes()[:5000],
])  # fmt: skip
def test_what_is_no_notebook_is_named(content, tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises((FileError, ParameterError), match="x.ipynb: ") as error:
        defaults(path)
    assert "\n" not in str(error.value)


def test_what_is_not_there_says_nothing(tmp_path):
    assert read_yaml(tmp_path / "none.yaml") is None and study_lines("no_paper", "quick") == {}
