"""The published numbers: every row of every file is checked, and a wrong cell is named."""

import csv

import pytest

from bdlib import folders
from bdlib.experiments.reported import DETECTION, ReportedRow, answers, reported
from bdlib.files import FileError
from bdlib.folders import RESULTS

FILES = sorted((RESULTS / "reported").glob("*.csv"))
CELLS = {
    "poison_rate": ["10", "-0.1", "ten", "nan"], "clean_fraction": ["5", "inf"], "acc_percent": ["101", "-1", "0,9"],
    "asr_percent": ["100.5", "nan", "high"], "own": ["yes", "", "true"], "dataset_key": ["cifar"],
    "model_key": ["resnet"], "attack_key": ["badnet"], "defense_key": ["nat"], "source": ["", " "],
    "source_url": ["", "see the paper", "http://example.org"], "table": [""], "attack": [""],
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_published_row_is_as_it_must_be(path):
    table = reported(path.stem)
    columns = [*ReportedRow.model_fields]
    assert [*table.columns] in (columns, columns[: -len(DETECTION)]) and table["source"].notna().all()


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Writes a changed copy of NAD's published numbers; reading it must fail with one line that names the file."""
    path = tmp_path / "reported" / "nad.csv"
    path.parent.mkdir()
    path.write_bytes((folders.REPORTED / "nad.csv").read_bytes())
    monkeypatch.setattr(folders, "REPORTED", path.parent)
    return path


def refused(path):
    with pytest.raises(FileError) as error:
        reported("nad")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("column, cell", [(column, cell) for column, cells in CELLS.items() for cell in cells])
def test_a_wrong_cell_is_named(rows, column, cell):
    with rows.open(newline="") as file:
        table = list(csv.DictReader(file))
    table[2][column] = cell
    with rows.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*table[0]])
        writer.writeheader()
        writer.writerows(table)
    assert f"line 4, column {column}: {cell!r}" in refused(rows)


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b"\xff\xfe" + b, lambda b: b.replace(b"asr_percent", b"asr"), lambda b: b + b"a,b\n",
    lambda b: b[:-40], lambda b: b.replace(b"True", b"True,1", 1), lambda b: b"<html>", lambda b: b + b'"open\n',
    lambda b: b.replace(b"table,dataset", b"dataset,table"), lambda b: b + b"\0" * 20,
])  # fmt: skip
def test_a_damaged_table_is_named(rows, damage):
    rows.write_bytes(damage(rows.read_bytes()))
    refused(rows)


def test_a_missing_table_is_named_and_a_folder_in_its_place(rows):
    rows.unlink()
    refused(rows)
    rows.mkdir()
    refused(rows)


def test_a_row_without_accuracy_answers_without_it(rows):
    rows.write_bytes(rows.read_bytes().replace(b"0.05,82.12,3.57", b"0.05,,3.57"))
    asked = {"dataset": "cifar10", "model": "wrn_16_1", "attack": "badnets"}
    assert answers("nad", asked)["clean_accuracy"] is None and answers("nad", asked)["asr"] == pytest.approx(0.0357)
