"""The console command: what each part prints, and one line for what cannot be."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from click.testing import CliRunner

from bdlib import claims, cli
from bdlib.cli import options
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import manifest, notebooks, records
from bdlib.experiments import run as experiments
from bdlib.experiments import victims as victims_module
from bdlib.experiments.records import Record

COMMANDS = sorted(cli.main.commands)


def call(*words):
    return CliRunner().invoke(cli.main, words)


@pytest.fixture
def made(monkeypatch):
    """The parameters of the runs that were asked for; none is computed."""
    asked = []

    def stand_in(paper, parameters):
        asked.append(parameters)
        return Record(paper, parameters, Scores(0.9, 1.0, 0.0, 0.9), Scores(0.8, 0.25, 0.7, 0.8), None, ["it is weak"])

    monkeypatch.setattr(experiments, "run", stand_in)
    return asked


def test_help_answers_at_once():
    code = "import sys, bdlib.cli; assert not {'torch', 'pandas', 'numpy', 'papermill'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    done = call(command, "--help")
    assert done.exit_code == 0 and len(done.output.splitlines()) > 5
    assert command in call("--help").output


def test_a_run_prints_its_scores_and_where_its_record_is(made, tmp_path):
    done = call("run", "nad", "-p", "attack=blended", "-p", "seed=3", "--out", str(tmp_path / "one.json"))
    assert done.exit_code == 0, done.output
    assert (made[0]["attack"], made[0]["seed"], made[0]["teacher_epochs"]) == ("blended", 3, 10)
    assert "after     80.0    25.0   70.0" in done.output and "Caution: it is weak" in done.output
    assert json.loads((tmp_path / "one.json").read_text())["parameters"]["attack"] == "blended"
    assert f"Record: {tmp_path / 'one.json'}" in done.output


def test_parameters_are_read_as_numbers_lists_and_words(made, tmp_path):
    words = ["-p", "learning_rate=1e-3", "-p", "beta=[0, 1.5, 2]", "-p", "variant=released", "--profile", "smoke"]
    done = call("run", "nad", *words, "--out", str(tmp_path / "one.json"))
    assert done.exit_code == 0, done.output
    assert (made[0]["learning_rate"], made[0]["beta"], made[0]["variant"]) == (0.001, [0, 1.5, 2], "released")
    assert made[0]["student_epochs"] == notebooks.parameters("nad", "smoke")["student_epochs"]


@pytest.mark.parametrize("words, culprit", [
    (["run", "nad", "-p", "clean_fractoin=0.01"], "ParameterError: clean_fractoin: no such parameter"),
    (["run", "nad", "-p", "poison_rate=2"], "ParameterError: poison_rate=2: must be"),
    (["notebook", "nad", "out.ipynb", "-p", "seed=x"], "ParameterError: seed='x': must be"),
    (["run", "nad", "-p", "profile=paper"], "ParameterError: profile='paper': changes no number of a run"),
    (["run", "mp_fair", "--profile", "cifar"], "ParameterError: profile='cifar': must be one of smoke, quick for mp"),
    (["notebook", "mp_fair", "out.ipynb", "--profile", "paper"], "ParameterError: profile='paper': must be one of"),
    (["victims", "-p", "beta=1"], "ParameterError: beta: no such parameter"),
    (["victims", "-p", "attack=badnet"], "ParameterError: attack='badnet': must be one of"),
])  # fmt: skip
def test_what_cannot_be_is_one_line_and_nothing_is_computed(words, culprit, made):
    done = call(*words)
    assert done.exit_code == 2 and not made
    assert done.stderr.startswith(culprit) and done.stderr.count("\n") == 1


YAML = {
    "list": b"- 1", "text": b"hello", "binary": bytes(range(256)), "open": b"a: [1, 2", "twice": b"seed: 1\nseed: 2",
    "object": b"a: !!python/object:os.system x", "date": b"seed: 2020-13-45", "deep": b"a: " + b"[" * 20000,
    "unknown": b"sede: 1", "long": b"seed: " + b"9" * 6000, "two": b"a: 1\n---\nb: 2", "keys": b"1: 2",
}  # fmt: skip
VALUES = [
    "beta=[96", "beta", "=3", "seed=2020-13-45", "seed={a: 1", "seed=*x", "seed=!!python/object:os.system x",
    "seed=" + "[" * 5000, "seed=" + "9" * 6000, "seed=0x" + "f" * 5000, "beta=&a [*a]", "seed=1\nseed: 2", "seed=@a",
]  # fmt: skip
NO_PLACE = ["/proc/nope/x.json", "/dev/null", "/dev/null/x", "", ".", "/", "x" * 300, "file/in/the/way"]


def refused(done, made=()):
    """What stderr says: one line; nothing was computed."""
    assert done.exit_code == 2 and not made, done.output
    assert done.stderr.count("\n") == 1 and not done.stdout, done.output
    return done.stderr


@pytest.fixture
def no_kernel(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("started"))


@pytest.mark.parametrize("name", YAML)
def test_a_file_of_parameters_that_cannot_be_read_is_named(name, no_kernel, tmp_path):
    (tmp_path / f"{name}.yaml").write_bytes(YAML[name])
    line = refused(call("notebook", "nad", "out.ipynb", "-f", f"{name}.yaml"))
    assert ("sede" if name == "unknown" else f"{name}.yaml") in line


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("words", [["run", "nad"], ["notebook", "nad", "out.ipynb"], ["victims"]])
def test_a_value_that_cannot_be_read_is_named(words, value, no_kernel, made):
    line = refused(call(*words, "-p", value), made)
    assert value.split("=")[0] in line and len(line) < 1000


def test_a_parameter_that_is_given_twice_is_named(no_kernel, made):
    assert "seed: is given twice" in refused(call("run", "nad", "-p", "seed=1", "-p", "seed=2"), made)


ASKS_FOR_A_PLACE = [
    ["run", "nad", "--out", "{}"], ["notebook", "nad", "{}"], ["run", "nad", "-p", "record={}"],
    ["notebook", "nad", "out.ipynb", "-p", "record={}"],
]  # fmt: skip


@pytest.mark.parametrize("words, place", [
    (words, place) for words in ASKS_FOR_A_PLACE for place in NO_PLACE if place or "record={}" not in words
])  # fmt: skip
def test_a_place_that_cannot_be_written_is_known_before_the_run(words, place, no_kernel, made):
    name = "record" if words[-1].startswith("record") else "out"
    line = refused(call(*(word.format(place) for word in words)), made)
    assert line.startswith(f"ParameterError: {name}=") and "must be a file that can be written" in line


def test_a_notebook_is_not_written_over_itself(no_kernel):
    assert "must be another file" in refused(call("notebook", "nad", str(notebooks.notebook("nad"))))


def test_a_run_writes_the_record_that_a_parameter_asks_for(made, tmp_path):
    assert call("run", "nad", "-p", f"record={tmp_path / 'r.json'}").exit_code == 0
    assert json.loads((tmp_path / "r.json").read_text())["paper"] == "nad"


def test_a_run_whose_place_vanishes_prints_where_its_record_is(monkeypatch, tmp_path):
    out = tmp_path / "folder" / "one.json"

    def vanish(paper, parameters):
        out.parent.rmdir()
        out.parent.touch()
        return Record(paper, parameters, Scores(0.9, 1.0, 0.0, 0.9), Scores(0.8, 0.25, 0.7, 0.8), None)

    monkeypatch.setattr(experiments, "run", vanish)
    monkeypatch.setattr("bdlib.experiments.places.RUNS", tmp_path)
    with pytest.warns(UserWarning, match="cannot be written"):
        done = call("run", "nad", "--out", str(out))
    rescued = tmp_path / "rescued" / "one.json"
    assert done.exit_code == 1 and f"Record: {rescued}" in done.stdout and rescued.is_file()


@pytest.mark.parametrize("settings, words, culprit", [
    ({"BDLIB_THREADS": "two"}, ["show", "nad"], "FileError: BDLIB_THREADS='two': must be a whole number from 1 to 256"),
    ({"BDLIB_PRECISION": "half"}, ["show", "nad"], "FileError: BDLIB_PRECISION='half': must be one of"),
    ({"BDLIB_CACHE": "/dev/null/x"}, ["victims", "-p", "data_fraction=0.01"], "ParameterError: BDLIB_CACHE"),
    ({"BDLIB_RESULTS": "/dev/null"}, ["manifest", "--profile", "smoke"], "ParameterError: BDLIB_RESULTS='/dev/null'"),
])  # fmt: skip
def test_a_setting_that_cannot_be_used_is_one_line(settings, words, culprit):
    done = subprocess.run([sys.executable, "-m", "bdlib.cli", *words], env=os.environ | settings, text=True,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith(culprit), done.stderr


@pytest.mark.parametrize("words", [
    ["run", "nat"], ["records", "--paper", "nat"], ["run", "nad", "-p", "seed"], ["run", "nad", "--profile", "fast"],
    ["records", "results/quick/nad/x.json"],
])  # fmt: skip
def test_a_wrong_word_is_named(words, made):
    done = call(*words)
    assert done.exit_code == 2 and not made
    assert words[-1].split("/")[-1] in done.stderr


def test_a_notebook_is_run_with_profile_file_and_parameters(monkeypatch, tmp_path):
    (tmp_path / "own.yaml").write_text("teacher_epochs: 2\nstudent_epochs: 5\n")
    seen = {}
    monkeypatch.setattr(notebooks, "execute", lambda path, out, changes, **_: seen.update(changes, path=path))
    done = call("notebook", "nad", str(tmp_path / "out.ipynb"), "--profile", "smoke",
                "-f", str(tmp_path / "own.yaml"), "-p", "student_epochs=7")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (seen["path"].name, seen["teacher_epochs"], seen["student_epochs"]) == ("nad.ipynb", 2, 7)
    assert seen["data_fraction"] == notebooks.parameters("nad", "smoke")["data_fraction"]


@pytest.fixture
def two_planned(monkeypatch, tmp_path):
    """Two planned runs, neither of them made."""
    points = [{"seed": seed, "dataset": "fashion", "attack": "sig"} for seed in (0, 1)]
    runs = [
        manifest.PlannedRun(
            "nad", "headline", "NAD", point, tmp_path / "nad" / records.file_name("nad", point, {}), "v"
        )
        for point in points
    ]
    monkeypatch.setattr(manifest, "planned_runs", lambda *_: runs)
    return runs


def test_missing_records_are_listed_and_made_and_a_failure_is_told_at_the_end(two_planned, made, monkeypatch):
    listed = call("records", "--list")
    assert listed.output.splitlines()[0].endswith(f"nad/{two_planned[0].path.name}") and not made
    assert call("records", str(two_planned[1].path)).exit_code == 0 and [point["seed"] for point in made] == [1]
    monkeypatch.setattr(experiments, "run", lambda *_: 1 / 0)
    done = call("records")
    assert done.exit_code == 1 and f"{two_planned[0].path.stem}.failed.txt: ZeroDivisionError" in done.stderr
    assert call("records", "--list").output.count("\n") == 1


def test_the_manifest_command_writes_the_tables_and_names_failures(two_planned, made, monkeypatch, tmp_path):
    monkeypatch.setattr(manifest, "RESULTS", tmp_path)
    assert call("records", str(two_planned[0].path)).exit_code == 0
    done = call("manifest")
    assert done.exit_code == 0 and "1 of 2 quick runs are here, 1 are missing." in done.output
    assert list(pd.read_csv(tmp_path / "quick" / "manifest.csv")["state"]) == ["here", "missing"]
    two_planned[1].failure.write_text("Traceback\nValueError: no\n")
    done = call("manifest")
    assert done.exit_code == 1 and f"{two_planned[1].path.stem}.failed.txt: ValueError: no" in done.stderr


def test_verdicts_can_be_asked_for_at_every_scale():
    assert {*options.SCALES.choices} == {*claims.SCALES}


def test_verify_fails_only_where_a_verdict_got_worse(monkeypatch):
    monkeypatch.setattr("bdlib.claims.verify", lambda scales, *, accept: [])
    assert call("verify").exit_code == 0
    monkeypatch.setattr("bdlib.claims.verify", lambda scales, *, accept: [f"{s}: nad-x: was a, is b" for s in scales])
    done = call("verify", "--scale", "paper")
    assert done.exit_code == 1 and "paper: nad-x" in done.stderr and "quick" not in done.stderr


def test_a_victim_is_trained_and_its_scores_and_place_printed(monkeypatch, tmp_path):
    monkeypatch.setattr(victims_module, "CACHE", tmp_path)
    done = call("victims", "-p", "attack=blended", "-p", "data_fraction=0.02", "-p", "victim_epochs=1")
    assert done.exit_code == 0, done.output
    path = next(tmp_path.rglob("*blended*.safetensors"))
    assert "ACC (%)" in done.output and f"Weights: {path}" in done.output


def test_show_lists_every_parameter_with_its_values_and_what_is_allowed():
    rows = call("show", "nad").output.splitlines()
    assert [row.split()[0] for row in rows[1:]] == list(notebooks.parameters("nad", "quick"))
    row = next(row for row in rows if row.startswith("model "))
    assert "small_resnet" in row and "wrn_16_1" in row and "one of" in row


def test_show_has_no_profile_that_the_page_has_not():
    assert call("show", "mp_fair").output.splitlines()[0].split() == ["parameter", "smoke", "quick", "allowed"]


def test_list_names_what_parameters_may_be():
    words = call("list").output
    assert all(name in words for name in ("nad", "blended", "ft_sam", "cifar10", "wrn_16_1", "fus"))
