import json

import pandas as pd
import pytest

from bdlib.evaluation.metrics import Scores
from bdlib.experiments import batch, notebooks, records, victims
from bdlib.experiments import run as experiments
from bdlib.experiments.records import Record
from bdlib.runtime import RESULTS, code_digest, imported, write_whole

BEFORE, AFTER = Scores(0.9, 1.0, 0.0, 0.9), Scores(0.88, 0.05, 0.8, 0.87)


def record(**changes):
    parameters = {"attack": "badnets", "clean_fraction": 0.05, "beta": [1.0, 0.5], "seed": 0} | changes
    return Record("nad", parameters, BEFORE, AFTER, None, [], {"seconds": 1.0, "commit": "abc"})


def test_a_record_comes_back_as_it_was_written(tmp_path):
    assert records.read(record().save(tmp_path / "r.json")) == record()


def test_a_name_tells_the_studied_parameters_and_stands_for_all():
    name = records.name(record().parameters)
    assert name.startswith("attack=badnets,clean_fraction=0.05,beta=1-0.5,seed=0,")
    assert name != records.name(record(power=3.0).parameters) and "/" not in name


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = write_whole(tmp_path / "kept", b"old")
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_table_has_a_row_a_record_and_effectiveness():
    table = records.table([record(seed=s) for s in (0, 1)])
    assert table["seed"].tolist() == [0, 1] and table["asr_after"].tolist() == [0.05, 0.05]
    assert table["der"].iloc[0] == pytest.approx((0.95 - 0.02 + 1) / 2) and table["beta"].iloc[0] == (1.0, 0.5)


def test_summaries_over_seeds():
    runs = pd.DataFrame({"attack": ["a"] * 3 + ["b"], "asr": [0.1, 0.2, 0.3, 0.5]})
    summary = records.over_seeds(runs, ["attack"], "asr").set_index("attack")
    assert summary.loc["a", "mean"] == pytest.approx(0.2) and summary.loc["a", "low"] < 0.1
    assert summary.loc["b", "seeds"] == 1 and pd.isna(summary.loc["b", "low"])


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


@pytest.mark.parametrize("words", ["nad {} --profile smoke", "--profile smoke nad {}", "nad --profile smoke {}"])
def test_records_are_named_before_or_behind_the_profile(words, tmp_path, capsys, monkeypatch):
    """A file that no run of the grid is called after is refused by its name, wherever it stands."""
    monkeypatch.setattr("sys.argv", ["experiments", *words.format(tmp_path / "other.json").split()])
    with pytest.raises(SystemExit):
        experiments.main()
    assert "record other.json: not in the grid of nad at profile smoke" in capsys.readouterr().err


def test_the_committed_records_are_the_grids_and_the_table_is_theirs():
    """Every record belongs to a study, under the name that its own parameters give, and stands in metrics.csv.

    Those that no run has made yet stand in the manifest as missing.
    """
    for path in RESULTS.glob("*/manifest.csv"):
        told = pd.read_csv(path)
        pd.testing.assert_frame_equal(told, batch.manifest(path.parent.name))
    for path in RESULTS.glob("*/metrics.csv"):
        profile, kept = path.parent.name, []
        for paper in sorted(p.name for p in path.parent.iterdir() if p.is_dir()):
            due = {records.name(point) for point in notebooks.grid(paper, profile)}
            assert due >= {p.stem for p in (path.parent / paper).glob("*.json")}
            kept += records.load(paper, profile)
        assert all(records.name(r.parameters) in {p.stem for p in path.parent.rglob("*.json")} for r in kept)
        table = pd.read_csv(path)
        assert len(table) == len(kept)
        assert sorted(table["asr_after"]) == pytest.approx(sorted(r.after.asr for r in kept))


def test_code_digests_are_blind_to_words_and_layout_only(tmp_path):
    one, two, three = (tmp_path / name for name in "abc")
    one.write_text('"""Doc."""\ndef f(x):\n    """More."""\n    return x + 1  # why\n')
    two.write_text("def f(x): return x + 1\n")
    three.write_text("def f(x): return x + 2\n")
    assert code_digest(one) == code_digest(two) != code_digest(three)
    names = [path.stem for path in imported("bdlib.defenses.nad")]
    assert {"nad", "fine_tune", "train", "data", "models", "types"} <= set(names) and "records" not in names
