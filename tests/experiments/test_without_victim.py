"""A page without a victim: its parameters, its records and its planned runs go the same ways as all others'."""

import json

import pytest

from bdlib.checks import ParameterError
from bdlib.experiments import manifest, notebooks, records, studies
from bdlib.experiments.parameters import overridden, validated
from bdlib.experiments.record_file import RecordError
from bdlib.experiments.regression import WITHOUT_VICTIM, RegressionConfig
from bdlib.experiments.run import run

SMALL = {"rows": 120, "seed": 4}


@pytest.fixture(scope="module")
def record():
    return run("mp_fair", overridden("mp_fair", SMALL))


def test_a_run_measures_and_scores_no_victim(record):
    assert record.before is record.after is record.reported is None and not record.passes
    assert record.measured["smd_train"] < 1e-8 and record.measured["forms_gap"] < 1e-6
    assert record.measured["train_rows"] == 96 and record.versions == {"tables": 1, "fairness": 1, "regression": 1}
    again = run("mp_fair", overridden("mp_fair", SMALL))
    assert again.measured == record.measured


def test_its_record_is_read_back_and_a_change_is_noticed(record, tmp_path):
    path = record.save(tmp_path / record.name)
    assert path.name.startswith("diabetes-mean_parity-seed4-") and records.read(path) == record
    text = path.read_text().replace('"rows": 120', '"rows": 121')
    path.write_text(text)
    with pytest.raises(RecordError, match="its content was altered"):
        records.read(path)
    assert json.loads(record.text())["before"] is None


def test_its_row_has_empty_scores_and_its_measures(record):
    row = records.table([record]).iloc[0]
    assert row[["clean_accuracy_before", "asr_after", "der"]].isna().all()
    assert row["smd_train"] == record.measured["smd_train"] and row["table"] == "diabetes"


def test_its_planned_runs_have_no_victim_and_are_made(tmp_path):
    planned = manifest.planned_runs("quick", ["mp_fair"])
    assert len({one.path for one in planned}) == len(planned) >= 400 and not any(one.victim for one in planned)
    assert planned[0].group.startswith("mp_fair_")
    point = overridden("mp_fair", SMALL)
    one = manifest.PlannedRun("mp_fair", "headline", "mean parity", point, tmp_path / "x.json", "")
    assert manifest.make(one) is None and "mse_test" in manifest.outcome(records.parse(one.path.read_text()))


def test_a_study_has_its_columns_before_and_after_its_runs():
    runs = studies.load_study("mp_fair", "quick", "headline")
    assert {"table", "estimator", "seed", "method", "asr_before"} <= set(runs.columns)
    assert notebooks.studies("mp_fair", "cifar") == notebooks.studies("mp_fair", "paper") == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"table": "iris"}, "table='iris': must be one of diabetes, communities, lawschool, adult"),
        ({"estimator": "svm"}, "estimator='svm': must be one of constant, ridge, kernel_ridge"),
        ({"attributes": 0}, "attributes=0: must be a whole number from 1 to 4"),
        ({"estimator": "fkr"}, "eta=None: must be a number for the estimator fkr, which has no exact form"),
        ({"rows": 5}, "rows=5: must be a whole number from 50 to 50000"),
        ({"attack": "badnets"}, "attack: no such parameter; mp_fair.ipynb has table, estimator"),
    ],
)
def test_bad_parameters_are_one_line(bad, words):
    with pytest.raises(ParameterError) as raised:
        overridden("mp_fair", bad)
    assert str(raised.value).startswith(words) and "\n" not in str(raised.value)


def test_only_its_own_settings_are_taken():
    parameters = notebooks.parameters("mp_fair", "quick")
    assert validated("mp_fair", parameters) is parameters and WITHOUT_VICTIM["mp_fair"] is RegressionConfig
    with pytest.raises(ParameterError, match="poison_rate: nothing that the page mp_fair runs takes it"):
        validated("mp_fair", parameters | {"poison_rate": 0.1})


def test_nystroem_says_how_far_it_is():
    config = RegressionConfig(rows=200, components=20)
    assert 0 < config.measure()["nystroem_gap"] < 0.2
