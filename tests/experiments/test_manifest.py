"""The planned runs: their order, what one that fails leaves behind, and the tables that count them."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bdlib.evaluation.metrics import Scores
from bdlib.experiments import manifest, notebooks, places, records, studies
from bdlib.experiments import run as experiments
from bdlib.experiments.manifest import PlannedRun, failure_line, make, missing_groups, planned_runs
from bdlib.experiments.records import Record


def planned(folder, name, *, paper="nad", study="headline", victim="v", seed=0, dataset="cifar10"):
    parameters = {"attack": name, "seed": seed, "dataset": dataset}
    path = folder / paper / records.file_name(paper, parameters, {})
    return PlannedRun(paper, study, "NAD", parameters, path, victim)


def stand_in(paper, parameters):
    """A run that takes no time."""
    return Record(paper, parameters, Scores(0.9, 1.0, 0.0, 0.9), Scores(0.8, 0.1, 0.7, 0.8), None)


def test_what_is_missing_is_grouped_by_victim_and_the_headline_comes_first(tmp_path):
    done = planned(tmp_path, "done")
    stand_in("nad", done.parameters).save(done.path)
    runs = [
        planned(tmp_path, "a", study="beta"), done, planned(tmp_path, "b", seed=1, victim="w"),
        planned(tmp_path, "c", study="gtsrb", victim="g"), planned(tmp_path, "d"), planned(tmp_path, "e", paper="rnp"),
    ]  # fmt: skip
    groups = missing_groups(runs)
    assert [[run.parameters["attack"] for run in group] for group in groups] == [["d", "e"], ["a"], ["b"], ["c"]]
    assert [{run.group for run in group} for group in groups] == [{"v_0_0_0"}, {"v_0_0_1"}, {"w_0_1_0"}, {"g_1_0_1"}]


def test_a_run_that_fails_leaves_its_traceback_until_it_succeeds(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")

    def fail(paper, parameters):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(experiments, "run", fail)
    line = make(run)
    assert line.startswith("FAILED ") and line.endswith(".failed.txt: FloatingPointError: the loss is nan")
    assert "Traceback" in run.failure.read_text() and failure_line(run) == line
    monkeypatch.setattr(experiments, "run", stand_in)
    assert make(run) is None and failure_line(run) is None
    assert list(run.path.parent.iterdir()) == [run.path]


def test_a_run_that_is_killed_is_told_and_one_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")

    def interrupt(paper, parameters):
        assert failure_line(run).startswith("UNFINISHED")  # what stays if the process now dies
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(run)
    assert not list(run.path.parent.iterdir())


def test_a_record_that_another_process_has_made_is_not_made_again(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")
    stand_in("nad", run.parameters).save(run.path)
    text = run.path.read_text()
    monkeypatch.setattr(experiments, "run", lambda *_: pytest.fail("computed"))
    assert make(run) is None and run.path.read_text() == text


def test_a_damaged_record_is_missing_named_kept_and_made_anew(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")
    monkeypatch.setattr(experiments, "run", stand_in)
    make(run)
    whole = run.path.read_text()
    run.path.write_text(whole.replace("0.8", "0.9", 1))
    with pytest.warns(UserWarning, match=f"{run.path}: its content was altered.*; it counts as missing"):
        assert missing_groups([run]) == [[run]] and list(manifest.table([run])["state"]) == ["missing"]
    assert failure_line(run) == f"FAILED {records.damage(run.path)}"
    with pytest.warns(UserWarning, match=rf"{run.path}: .* kept as {run.path.name}.damaged, and made anew"):
        assert make(run) is None
    assert run.path.read_text() == whole and failure_line(run) is None
    assert len(list(run.path.parent.iterdir())) == 2


@pytest.mark.parametrize("damage", [Path.mkdir, lambda path: path.symlink_to(path.parent / "gone"), os.mkfifo])
def test_whatever_is_in_a_records_place_is_set_aside_before_the_run(tmp_path, monkeypatch, damage):
    run = planned(tmp_path, "one")
    run.path.parent.mkdir()
    damage(run.path)
    monkeypatch.setattr(experiments, "run", stand_in)
    with pytest.warns(UserWarning, match=f"{run.path}: it is no file"):
        assert make(run) is None
    assert records.damage(run.path) is None


def test_a_finished_run_whose_place_has_vanished_is_rescued_and_fails_by_name(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")

    def vanish(paper, parameters):
        shutil.rmtree(run.path.parent)
        run.path.parent.write_text("in its way")
        return stand_in(paper, parameters)

    monkeypatch.setattr(experiments, "run", vanish)
    monkeypatch.setattr(places, "RUNS", tmp_path)
    with pytest.warns(UserWarning, match="cannot be written"):
        line = make(run)
    rescued = tmp_path / "rescued" / run.path.name
    assert line.startswith("FAILED ") and line.endswith(f"the record is in {rescued}")
    assert records.read(rescued).parameters == run.parameters


def test_a_folder_that_cannot_be_written_is_known_before_the_run(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")
    run.path.parent.write_text("in its way")
    monkeypatch.setattr(experiments, "run", lambda *_: pytest.fail("computed"))
    assert make(run).startswith("FAILED ")


@pytest.mark.filterwarnings("ignore::bdlib.evaluation.metrics.PremiseWarning")  # one epoch makes a weak victim
def test_the_record_holds_what_the_run_gives(tmp_path):
    parameters = {k: v for k, v in notebooks.parameters("nad", "smoke").items() if k != "record"}
    parameters |= {"data_fraction": 0.05, "victim_epochs": 1, "teacher_epochs": 1, "student_epochs": 1}
    path = tmp_path / "nad" / records.path("nad", "smoke", parameters).name
    run = replace(planned(tmp_path, "one"), parameters=parameters, path=path)
    assert make(run) is None
    again = experiments.run("nad", parameters)
    assert replace(records.read(run.path), runtime={}).text() == replace(again, runtime={}).text()


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_the_manifest_counts_what_the_first_page_counts(profile, tmp_path, monkeypatch):
    runs = planned_runs(profile)
    monkeypatch.setattr(manifest, "RESULTS", tmp_path)
    sentence = manifest.write_tables(profile, runs)
    table = manifest.table(runs)
    assert (tmp_path / profile / "manifest.csv").read_text() == table.to_csv(index=False)
    progress = studies.progress(profile)
    assert sentence.startswith(f"{progress['here'].sum()} of {progress['planned'].sum()} {profile} runs are here")
    page = table["paper"].where(table["study"] != "board", "board")
    by_paper = table.groupby(page)["state"].agg(["size", lambda states: (states == "here").sum()])
    progress = progress[progress["planned"] > 0].set_index("paper")
    assert (by_paper.to_numpy() == progress.loc[by_paper.index].to_numpy()).all()
    assert table["record"].is_unique and set(table["state"]) <= {"here", "missing"}


def test_runs_that_share_a_victim_say_so():
    runs = planned_runs("paper", ["npd", "sau"])
    victims = {paper: {run.victim for run in runs if run.paper == paper} for paper in ("npd", "sau")}
    assert len(victims["npd"] & victims["sau"]) >= 12  # four attacks, three seeds
