"""The planned runs: their order, what one that fails leaves behind, and the tables that count them."""

from dataclasses import replace

import pytest

from bdlib.evaluation.metrics import Scores
from bdlib.experiments import manifest, notebooks, records, studies
from bdlib.experiments import run as experiments
from bdlib.experiments.manifest import PlannedRun, failure_line, make, missing_groups, planned_runs
from bdlib.experiments.records import Record


def planned(folder, name, *, paper="nad", study="headline", victim="v", seed=0, dataset="cifar10"):
    return PlannedRun(paper, study, "NAD", {"seed": seed, "dataset": dataset}, folder / f"{name}.json", victim)


def stand_in(paper, parameters):
    """A run that takes no time."""
    return Record(paper, parameters, Scores(0.9, 1.0, 0.0, 0.9), Scores(0.8, 0.1, 0.7, 0.8), None)


def test_what_is_missing_is_grouped_by_victim_and_the_headline_comes_first(tmp_path):
    (tmp_path / "done.json").write_text("{}")
    runs = [
        planned(tmp_path, "a", study="beta"), planned(tmp_path, "done"), planned(tmp_path, "b", seed=1, victim="w"),
        planned(tmp_path, "c", study="gtsrb", victim="g"), planned(tmp_path, "d"), planned(tmp_path, "e", paper="rnp"),
    ]  # fmt: skip
    groups = missing_groups(runs)
    assert [[run.path.stem for run in group] for group in groups] == [["d", "e"], ["a"], ["b"], ["c"]]
    assert [{run.group for run in group} for group in groups] == [{"v_0_0_0"}, {"v_0_0_1"}, {"w_0_1_0"}, {"g_1_0_1"}]


def test_a_run_that_fails_leaves_its_traceback_until_it_succeeds(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")

    def fail(paper, parameters):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(experiments, "run", fail)
    line = make(run)
    assert line.startswith("FAILED ") and line.endswith("one.failed.txt: FloatingPointError: the loss is nan")
    assert "Traceback" in run.failure.read_text() and failure_line(run) == line
    monkeypatch.setattr(experiments, "run", stand_in)
    assert make(run) is None and failure_line(run) is None
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_a_run_that_is_killed_is_told_and_one_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")

    def interrupt(paper, parameters):
        assert failure_line(run).startswith("UNFINISHED")  # what stays if the process now dies
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(run)
    assert not list(tmp_path.iterdir())


def test_a_record_that_another_process_has_made_is_not_made_again(tmp_path, monkeypatch):
    run = planned(tmp_path, "one")
    run.path.write_text("{}")
    monkeypatch.setattr(experiments, "run", lambda *_: pytest.fail("computed"))
    assert make(run) is None and run.path.read_text() == "{}"


@pytest.mark.filterwarnings("ignore::bdlib.evaluation.metrics.PremiseWarning")  # one epoch makes a weak victim
def test_the_record_holds_what_the_run_gives(tmp_path):
    parameters = {k: v for k, v in notebooks.parameters("nad", "smoke").items() if k != "record"}
    parameters |= {"data_fraction": 0.05, "victim_epochs": 1, "teacher_epochs": 1, "student_epochs": 1}
    run = replace(planned(tmp_path, records.path("nad", "smoke", parameters).stem), parameters=parameters)
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
    by_paper = table.groupby("paper")["state"].agg(["size", lambda states: (states == "here").sum()])
    progress = progress[progress["planned"] > 0].set_index("paper")
    assert (by_paper.to_numpy() == progress.loc[by_paper.index].to_numpy()).all()
    assert table["record"].is_unique and set(table["state"]) <= {"here", "missing"}


def test_runs_that_share_a_victim_say_so():
    runs = planned_runs("paper", ["npd", "sau"])
    victims = {paper: {run.victim for run in runs if run.paper == paper} for paper in ("npd", "sau")}
    assert len(victims["npd"] & victims["sau"]) >= 12  # four attacks, three seeds
