"""The tables for fair regression: one comes along, the others are verified."""

import os
from pathlib import Path

import numpy as np
import pytest

from bdlib.checks import ParameterError
from bdlib.data import tables
from bdlib.data._files import DataError
from bdlib.data.tables import load_table

FAIR = Path(os.environ.get("BDLIB_DATA", "/nowhere"), "fair")


def test_diabetes_comes_along():
    table = load_table("diabetes")
    assert table.features.shape == (442, 10) and table.sensitive.columns.tolist() == ["sex", "age", "bmi", "bp"]
    assert set(np.unique(table.sensitive)) == {0, 1} and table.target.between(25, 346).all()


@pytest.mark.skipif(not FAIR.is_dir(), reason="no tables in $BDLIB_DATA/fair")
@pytest.mark.parametrize(
    ("name", "rows", "first", "share"),
    [("communities", 1994, "white", 0.8), ("lawschool", 20800, "race", 0.84), ("adult", 30162, "male", 0.68)],
)
def test_the_benchmark_tables_are_what_the_paper_uses(name, rows, first, share):
    table = load_table(name)
    values = table.features.to_numpy(float)
    assert len(table.target) == len(values) == len(table.sensitive) == rows
    assert np.isfinite(values).all() and table.target.between(0, 1).all()
    assert table.sensitive.columns[0] == first and table.sensitive[first].mean() == pytest.approx(share, abs=0.06)


def test_an_unknown_table_and_an_altered_file_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match=r"\Atable='iris': must be one of diabetes, communities, lawschool, adult"):
        load_table("iris")
    (tmp_path / "fair").mkdir()
    (tmp_path / "fair" / "adult.csv").write_text("age\n1\n")
    monkeypatch.setenv("BDLIB_DATA", str(tmp_path))
    tables.adult.cache_clear()
    with pytest.raises(DataError, match=r"adult.csv is truncated or altered: SHA-256 [^\n]*\Z"):
        load_table("adult")


def test_a_table_that_is_not_here_names_both_remedies(tmp_path, monkeypatch):
    monkeypatch.delenv("BDLIB_DATA", raising=False)
    monkeypatch.setenv("BDLIB_DOWNLOADS", str(tmp_path))
    monkeypatch.setattr(tables, "PLACE", "file:///nowhere")
    monkeypatch.setattr("bdlib.data._download.WAITS", ())
    tables.adult.cache_clear()
    with pytest.raises(DataError, match=r"go online, or set BDLIB_DATA to a folder that holds fair/adult.csv\Z"):
        load_table("adult")
