import builtins
import inspect
import json
import re
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from bdlib.defenses import nad
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import manifest, notebooks, records, studies, victims
from bdlib.experiments import run as experiments
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.records import Record, RecordError
from bdlib.files import write_whole
from bdlib.folders import RESULTS
from bdlib.report import comparison

BEFORE, AFTER = Scores(0.9, 1.0, 0.0, 0.9), Scores(0.88, 0.05, 0.8, 0.87)


def record(**changes):
    parameters = {"attack": "badnets", "clean_fraction": 0.05, "beta": [1.0, 0.5], "seed": 0} | changes
    return Record("nad", parameters, BEFORE, AFTER, None, [], {"seconds": 1.0, "commit": "abc"}, {}, {"loop": 1})


def test_a_record_comes_back_as_it_was_written(tmp_path):
    assert records.read(record().save(tmp_path / record().name)) == record()
    assert records.parse(record().text()) == record()


def test_a_name_tells_attack_method_and_seed_and_stands_for_all_parameters_and_versions():
    name = record().name
    assert re.fullmatch("badnets-nad-seed0-[0-9a-f]{8}.json", name)
    assert record(defense="fine_tune").name.startswith("badnets-fine_tune-seed0-")
    assert record(power=3).name == record(power=3.0).name != name
    assert len({name, record(power=3.0).name, replace(record(), versions={"loop": 2}).name}) == 3
    assert name == replace(record(), after=BEFORE, runtime={}).name


def test_a_file_whose_content_does_not_answer_its_name_is_named(tmp_path):
    path = replace(record(), versions={"loop": 2}).save(tmp_path / record().name)
    with pytest.raises(RecordError, match=f"{path}: its content belongs under the name badnets-nad-seed0-"):
        records.read(path)


def test_a_record_of_another_version_is_missing(tmp_path, monkeypatch):
    """Raising a NUMBERS_VERSION leaves the records that depend on it where they are, and plans new ones."""
    (_, point), *_ = notebooks.study("nad", "quick", "headline")
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    made = replace(record(), parameters=point, versions=records.versions("nad", point))
    made.save(records.path("nad", "quick", point))
    assert len(studies.load_study("nad", "quick", "headline")) == 1
    total = len(notebooks.grid("nad", "quick"))
    assert studies.freshness("nad") == f"1 of {total} quick records are here (made by commit abc)."
    monkeypatch.setattr(nad, "NUMBERS_VERSION", 2)
    assert studies.load_study("nad", "quick", "headline").empty
    assert studies.freshness("nad") == f"0 of {total} quick records are here."


def test_moving_code_is_free(monkeypatch):
    """Names of records and victims follow from settings and versions; no source text is read for them."""
    point = notebooks.parameters("nad", "quick") | {"selection": "lps"}

    def fail(*_, **__):
        raise AssertionError("reads a file")

    for owner, name in ((Path, "read_text"), (Path, "read_bytes"), (inspect, "getsource"), (builtins, "open")):
        monkeypatch.setattr(owner, name, fail)
    assert records.path("nad", "quick", point)
    assert victims.victim_path(VictimConfig.from_parameters(point))


def test_profile_and_record_are_no_part_of_a_name():
    point = notebooks.parameters("nad", "quick")
    path = records.path("nad", "quick", point)
    assert path == records.path("nad", "quick", point | {"profile": "paper", "record": "somewhere.json"})
    assert path.parent == RESULTS / "quick" / "nad"


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = write_whole(tmp_path / "kept", b"old")
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_table_has_a_row_a_record_and_effectiveness():
    table = records.table([record(seed=s) for s in (0, 1)])
    assert table["seed"].tolist() == [0, 1] and table["asr_after"].tolist() == [0.05, 0.05]
    assert table["der"].iloc[0] == pytest.approx((0.95 - 0.02 + 1) / 2) and table["beta"].iloc[0] == (1.0, 0.5)


def test_passes_are_in_the_table_and_records_from_before_are_as_they_were():
    counted = replace(record(), passes={"forward": 20, "backward": 10})
    assert records.parse(counted.text()) == counted and counted.name == record().name
    assert "passes" not in record().text()
    table = records.table([record(), counted])
    assert table["forward_passes"].isna().tolist() == [True, False]
    assert table["backward_passes"].iloc[1] == 10
    assert {*table.columns} >= {*records.no_runs(record().parameters).columns}


def test_summaries_over_seeds():
    runs = pd.DataFrame({"attack": ["a"] * 3 + ["b"], "asr": [0.1, 0.2, 0.3, 0.5]})
    summary = records.over_seeds(runs, ["attack"], "asr").set_index("attack")
    assert summary.loc["a", "mean"] == pytest.approx(0.2) and summary.loc["a", "low"] < 0.1
    assert summary.loc["b", "seeds"] == 1 and pd.isna(summary.loc["b", "low"])
    seeds = pd.DataFrame({"seed": [0, 0, 1, 1], "method": "m", "asr": [0.0, 1.0, 0.2, 1.0]})  # two attacks a seed
    both = records.over_seeds(seeds, ["method"], "asr").iloc[0]
    assert both["seeds"] == 2 and both["mean"] == pytest.approx(0.55) and both["high"] < 1.2  # of 0.5 and 0.6


def test_a_paper_scale_run_answers_its_published_row_and_a_quick_one_none():
    asked = {"dataset": "cifar10", "model": "wrn_16_1", "attack": "badnets"}
    assert records.answers("nad", asked)["asr"] == pytest.approx(0.0357)
    assert records.answers("nad", asked | {"dataset": "fashion"}) is None
    assert records.answers("nad", asked | {"defense": "fine_tune"})["asr"] == pytest.approx(0.1813)
    assert records.answers("no_paper", asked) is None


@pytest.mark.filterwarnings("ignore::bdlib.evaluation.metrics.PremiseWarning")
def test_equal_runs_give_byte_identical_records(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    point = notebooks.parameters("nad", "smoke")
    texts = []
    for _ in range(2):  # the first trains the victim, the second reads it
        made = json.loads(experiments.run("nad", point).text())
        made.pop("runtime")
        texts.append(json.dumps(made))
    assert texts[0] == texts[1]


def test_the_committed_records_are_the_grids_and_the_table_is_theirs():
    """Every record belongs to a study and is in metrics.csv; the manifest lists all planned runs."""
    for path in RESULTS.glob("*/manifest.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(path), manifest.table(manifest.planned_runs(path.parent.name)))
    for path in RESULTS.glob("*/metrics.csv"):
        profile, committed = path.parent.name, []
        planned = {run.path for run in manifest.planned_runs(profile)}
        for paper in sorted(p.name for p in path.parent.iterdir() if p.is_dir()):
            assert planned >= set((path.parent / paper).glob("*.json"))
            committed += records.load(paper, profile)  # raises for one that its name does not fit
        table = pd.read_csv(path, low_memory=False)
        assert sorted(table["record"]) == sorted(record.name.removesuffix(".json") for record in committed)
        assert sorted(table["asr_after"].dropna()) == pytest.approx(sorted(r.after.asr for r in committed if r.after))


def test_records_that_share_a_table_start_from_victims_that_one_number_of_threads_made():
    """Another number gives other victims; tables refuse methods that were not run on the same ones.

    The runs themselves may have another number: where the victim is the same, so are its scores, but for an image or
    two that another processor takes for another class.
    """
    joined = {*comparison.PAPERS, *comparison.IN_TRAINING, "comparison"}  # all in the table of the comparison
    pages = [joined, *({paper} for paper in {*notebooks.papers()} - joined)]
    names = [field.name for field in fields(VictimConfig)]
    for profile, together in product(("quick", "cifar"), pages):
        paths = [path for paper in together for path in (RESULTS / profile / paper).glob("*.json")]
        found = [json.loads(path.read_text()) for path in paths]
        made = [record for record in found if record["before"]]  # a page without victims shares none
        facts = [record["runtime"] for record in made]
        assert len({runtime.get("victim_threads") or runtime["threads"] for runtime in facts}) < 2, together
        if made:
            of_victim = [repr([record["parameters"].get(name) for name in names]) for record in made]
            scores = pd.DataFrame([record["before"] for record in made]).groupby(of_victim)
            assert (scores.max() - scores.min()).max(axis=None) < 1e-3, together


def test_every_record_of_a_profile_is_found_by_its_study():
    """A version that is raised by mistake gives planned runs other names: the records there are would be lost."""
    for profile in ("quick", "cifar"):
        files = len([*(RESULTS / profile).glob("*/*.json")])
        assert studies.progress(profile)["here"].sum() == files
