"""The tables for fair regression: one comes along, the others are verified."""

import hashlib

import numpy as np
import pytest

from bdlib.checks import ParameterError
from bdlib.data import tables
from bdlib.data._files import DataError
from bdlib.data.tables import load_table


def test_diabetes_comes_along():
    table = load_table("diabetes")
    assert table.features.shape == (442, 10) and table.sensitive.columns.tolist() == ["sex", "age", "bmi", "bp"]
    assert set(np.unique(table.sensitive)) == {0, 1} and table.target.between(25, 346).all()


ROWS = {  # a few rows in the form of each file: a missing value, and both sides of each attribute
    "communities": """population,householdsize,racepctblack,racePctWhite,racePctAsian,racePctHisp,medIncome,"""
    """medFamInc,ViolentCrimesPerPop
0.1,0.6,0.2,0.7,0.1,0.0,0.4,0.9,0.3
?,0.5,0.9,0.1,0.0,0.0,0.6,0.2,0.8
""",
    "lawschool": """race,lsat,ugpa,bar1,fulltime,gender
7,30,3.2,P,1,male
3,28,2.0,F,2,female
7,NA,3.0,P,1,male
""",
    "adult": """age,workclass,race,sex,hours-per-week,income
39, Private, White, Male,40, <=50K
50, Self-emp, Black, Female,0, >50K
20, ?, White, Male,10, <=50K
""",
}


@pytest.fixture
def tables_of(monkeypatch, tmp_path):
    """The files of $BDLIB_DATA/fair are those of `ROWS`, with their own checksums."""
    (tmp_path / "fair").mkdir()
    monkeypatch.setenv("BDLIB_DATA", str(tmp_path))
    for name, text in ROWS.items():
        (tmp_path / "fair" / f"{name}.csv").write_text(text)
        monkeypatch.setitem(tables.SHA256, f"{name}.csv", hashlib.sha256(text.encode()).hexdigest())
        tables.TABLES[name].cache_clear()
    yield {name: load_table(name) for name in ROWS}
    for name in ROWS:
        tables.TABLES[name].cache_clear()


def test_the_benchmark_tables_are_coded_as_the_authors_script_does(tables_of):
    crimes, law, income = (tables_of[name] for name in ROWS)
    assert crimes.sensitive.to_numpy().tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]  # white first, then above one half
    assert crimes.features["population"].tolist() == [0.1, 0.0] and "racePctHisp" not in crimes.features
    assert law.target.tolist() == [0.8, 0.5]  # the row without an LSAT is left out
    assert law.sensitive.to_numpy().tolist() == [[1, 1, 1], [0, 0, 0]] and law.features["bar1"].tolist() == [1, 0]
    assert income.target.tolist() == [0.0, 1.0] and income.sensitive.to_numpy().tolist() == [[1, 1], [0, 0]]
    assert income.features["hours-per-week"].tolist() == [np.log1p(40), 0.0]
    assert income.features["sex_Female"].tolist() == [0.0, 1.0]


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


def test_a_folder_of_data_that_is_none_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("BDLIB_DATA", str(tmp_path / "nowhere"))
    tables.communities.cache_clear()
    with pytest.raises(DataError) as raised:
        load_table("communities")
    assert str(raised.value).startswith(f"BDLIB_DATA={tmp_path / 'nowhere'}: is not a folder; unset it")
