"""Many runs in one go: their order, what one that fails or overruns leaves behind, and the manifest."""

import os
import sys
import time
from dataclasses import replace

import pytest

from bdlib.experiments import batch, notebooks, records, studies
from bdlib.experiments import run as experiments
from bdlib.experiments.batch import Job, planned, waiting


def job(folder, name, *, paper="nad", study="headline", victim="v", seed=0, dataset="cifar10"):
    return Job(paper, study, "NAD", {"seed": seed, "dataset": dataset}, folder / f"{name}.json", victim)


def act(task):
    """Stands for a run: does what its name says."""
    if task.path.stem.startswith("fails"):
        raise FloatingPointError("the loss is nan")
    if task.path.stem.startswith("dies"):
        os._exit(3)
    if task.path.stem.startswith("sleeps"):
        time.sleep(120)
    task.path.write_text(str(os.getpid()))


def test_what_is_missing_is_grouped_by_victim_and_the_headline_comes_first(tmp_path):
    (tmp_path / "done.json").write_text("{}")
    jobs = [
        job(tmp_path, "a", study="beta"), job(tmp_path, "done"), job(tmp_path, "b", seed=1, victim="w"),
        job(tmp_path, "c", study="gtsrb", victim="g"), job(tmp_path, "d"), job(tmp_path, "e", paper="rnp"),
    ]  # fmt: skip
    assert [[task.path.stem for task in group] for group in waiting(jobs)] == [["d", "e"], ["a"], ["b"], ["c"]]


def test_a_run_that_fails_is_told_and_the_others_are_made(tmp_path):
    groups = [[job(tmp_path, "fails"), job(tmp_path, "first")], [job(tmp_path, "second")], [job(tmp_path, "third")]]
    failures = batch.batch(groups, jobs=2, run=act)
    assert list(failures) == ["fails"] and "the loss is nan" in failures["fails"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["first", "second", "third"]
    assert len({path.read_text() for path in tmp_path.iterdir()} - {str(os.getpid())}) >= 1


def test_at_the_end_of_the_time_what_runs_is_stopped(tmp_path):
    start = time.monotonic()
    groups = [[job(tmp_path, "quick"), job(tmp_path, "sleeps"), job(tmp_path, "never")]]
    assert batch.batch(groups, seconds=12, run=act) == {}
    assert time.monotonic() - start < 40
    assert [path.stem for path in tmp_path.iterdir()] == ["quick"]


def test_a_worker_that_dies_is_told(tmp_path):
    assert "[3]" in batch.batch([[job(tmp_path, "dies")]], run=act)["worker"]


def test_no_run_starts_that_would_not_end_in_time(tmp_path):
    todo = [[job(tmp_path, "one"), job(tmp_path, "two")], None]

    class Listed:
        def get(self):
            return todo.pop(0)

    def slow(task):
        act(task)
        time.sleep(0.5)

    batch.work(Listed(), None, time.monotonic() + 0.8, slow)
    assert [path.stem for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.filterwarnings("ignore::bdlib.evaluation.metrics.PremiseWarning")  # one epoch makes a weak victim
def test_a_job_makes_the_record_that_the_command_of_one_record_makes(tmp_path):
    parameters = {k: v for k, v in notebooks.parameters("nad", "smoke").items() if k != "record"}
    parameters |= {"data_fraction": 0.05, "victim_epochs": 1, "teacher_epochs": 1, "student_epochs": 1}
    task = replace(job(tmp_path, records.name(parameters)), parameters=parameters)
    batch.make(task)
    again = experiments.run("nad", parameters)
    assert replace(records.read(task.path), runtime={}).text() == replace(again, runtime={}).text()


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_the_manifest_counts_what_the_first_page_counts(profile):
    found, told = batch.manifest(profile), studies.progress(profile)
    by_paper = found.groupby("paper")["state"].agg(["size", lambda states: (states == "here").sum()])
    told = told[told["planned"] > 0].set_index("paper")
    assert (by_paper.to_numpy() == told.loc[by_paper.index].to_numpy()).all()
    assert found["record"].is_unique and set(found["state"]) <= {"here", "missing"}


def test_runs_that_share_a_victim_say_so():
    jobs = planned("paper", ["npd", "sau"])
    shared = {task.victim for task in jobs if task.paper == "npd"} & {
        task.victim for task in jobs if task.paper == "sau"
    }
    assert len(shared) >= 12  # four attacks, three seeds


@pytest.mark.parametrize("words", [["--minutes", "-1"], ["--jobs", "0"], ["--papers", "nat"]])
def test_bad_options_stop_before_any_compute(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["batch", *words])
    monkeypatch.setattr(batch, "batch", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(SystemExit, match="2"):
        batch.main()
    assert words[0].lstrip("-") in capsys.readouterr().err
