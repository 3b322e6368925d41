"""A record's file: whatever is not as it was written is one line that names the file."""

import json
import os
import random
from dataclasses import replace

import pytest

from bdlib.evaluation.metrics import Scores
from bdlib.experiments import records
from bdlib.experiments.record_file import RecordError, write_content
from bdlib.experiments.records import Record

BEFORE, AFTER = Scores(0.9, 1.0, 0.0, 0.9), Scores(0.88, 0.05, 0.8, 0.87)
RECORD = Record("nad", {"attack": "badnets", "beta": [1.0, 0.5], "seed": 0, "variant": "paper"}, BEFORE, AFTER, None,
                ["it is weak"], {"seconds": 1.0, "commit": "abc"}, {"share": 0.25}, {"loop": 1})  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return RECORD.save(tmp_path / RECORD.name)


def refused(path):
    """The error of reading a record, which must be one line that names the file."""
    with pytest.raises(RecordError) as error:
        records.read(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < len(str(path)) + 300
    return line


def test_no_flipped_byte_is_read(path):
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        refused(path)


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b[:-3], lambda b: b[: len(b) // 2], lambda b: b + b"x", lambda b: b + b, lambda b: b"[]",
    lambda b: b"null", lambda b: b"3", lambda b: bytes(len(b)), lambda b: b"\x89PNG\r\n\xff", lambda b: b"[" * 100_000,
    lambda b: b'{"asr": ' + b"1" * 5000 + b"}", lambda b: b.replace(b'"seed": 0', b'"seed": 0, "seed": 0'),
    lambda b: b.replace(b"0.05", b"NaN"), lambda b: b.replace(b"0.05", b"0.06"),
])  # fmt: skip
def test_no_other_damage_is_read_either(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    refused(path)


@pytest.mark.parametrize("place, value, culprit", [
    (("after", "asr"), 7.5, "after.asr = 7.5"), (("after", "asr"), -0.1, "after.asr = -0.1"),
    (("before", "clean_accuracy"), "0.9", "before.clean_accuracy = '0.9'"),
    (("after", "asr"), True, "after.asr = True"), (("after", "asr"), None, "after.asr = None"),
    (("parameters", "seed"), {"a": 1}, "parameters.seed"), (("versions", "loop"), 0, "versions.loop = 0"),
    (("measured", "share"), "x", "measured.share"), (("premises",), "weak", "premises"), (("paper",), 3, "paper = 3"),
    (("runtime", "seconds"), -1, "runtime.seconds = -1"), (("runtime", "commit"), None, "runtime.commit"),
    (("reported",), {"asr": 0.5}, "reported"), (("more",), 1, "more"), (("passes",), {"forward": 1}, "passes.backward"),
    (("passes",), {"forward": 1.5, "backward": 1}, "passes.forward = 1.5"), (("after", "more"), 1, "after.more"),
])  # fmt: skip
def test_values_are_checked_even_where_the_checksum_fits(path, place, value, culprit):
    content = json.loads(RECORD.text())
    content["runtime"].pop("checksum")
    part = content
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    measured = content["measured"]
    content["measured"] = {}
    text = write_content(content)
    if place[0] == "measured":
        text = text.replace('"measured": {}', json.dumps({"measured": measured})[1:-1])
    path.write_text(text)
    assert culprit in refused(path)


@pytest.mark.parametrize("key", ["paper", "after", "runtime", "versions", "parameters"])
def test_a_missing_key_is_named(path, key):
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    assert key in refused(path)


@pytest.mark.parametrize("changes", [{"attack": "sig", "seed": 77}, {"defense": "fine_tune"}, {"variant": "released"}])
def test_the_record_of_another_run_is_not_read_under_this_name(path, changes):
    other = replace(RECORD, parameters=RECORD.parameters | changes)
    path.write_text(other.text())
    assert f"its content belongs under the name {other.name}" in refused(path)


def test_a_record_without_attack_or_seed_has_no_name(path):
    path.write_text(replace(RECORD, parameters={"attack": "badnets"}).text())
    assert "its parameters lack 'seed'" in refused(path)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("gone", path)])
def test_what_is_no_file_is_said(path, make):
    path.unlink()
    make(path)
    assert refused(path).endswith("it is no file")


def test_a_record_in_the_folder_of_another_paper_counts_as_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    path = RECORD.save(tmp_path / "quick" / "rnp" / RECORD.name)
    with pytest.raises(RecordError, match="it is a run of nad, in the folder of rnp"):
        records.load("rnp")
    with pytest.warns(UserWarning, match=f"{path}.*counts as missing"):
        assert not records.read_present([path])


def test_a_measure_that_divided_by_zero_does_not_cost_the_run(path):
    made = replace(RECORD, measured={"share": float("nan"), "ratio": float("inf"), "whole": 1.0})
    measured = records.read(made.save(path)).measured
    assert measured["whole"] == 1.0 and str(measured["share"]) == str(measured["ratio"]) == "nan"
