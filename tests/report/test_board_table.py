"""The board against the records that it is made from, and against what BackdoorBench publishes."""

import json
import math
import re

import pandas as pd
import pytest

from bdlib import folders
from bdlib.attacks import ATTACKS
from bdlib.defenses import DEFENSES
from bdlib.evaluation.intervals import seed_interval
from bdlib.evaluation.metrics import Scores, defense_effectiveness
from bdlib.experiments import notebooks, records
from bdlib.experiments.records import Record
from bdlib.experiments.reported import reported
from bdlib.experiments.versions import versions
from bdlib.report import board, board_page, board_rates
from bdlib.report.board_settings import share_of_images

RESULTS = folders.RESULTS
ROOT = folders.ROOT


@pytest.fixture(scope="module")
def table():
    return board.board_table()


def test_the_committed_board_is_what_the_records_give(table):
    """`bdlib manifest` writes it."""
    assert (RESULTS / "board.csv").read_bytes() == board.board_csv(table)
    again = board.read_board(board.board_csv(table))
    pd.testing.assert_frame_equal(again, table.round(6), check_dtype=False)


def test_every_record_is_on_the_board_once_and_fair_regression_is_not(table):
    defended = " ".join(table[table["defense"] != "none"]["records"]).split()
    assert len(defended) == len(set(defended))
    on_board = {*defended, *" ".join(table["records"]).split()}
    there = {
        path.relative_to(RESULTS).as_posix() for p in notebooks.PROFILES for path in (RESULTS / p).glob("*/*.json")
    }
    looks = ("mp_fair", "workshop", "reactivation")  # the last two look into repairs, whose rows are there
    left = {place for place in there - on_board if place.split("/")[1] not in looks}
    assert all("-none-" in place for place in left)  # two pages' records of one victim
    assert not any("mp_fair" in place for place in on_board)


def test_rows_are_the_means_of_their_records(table):
    rows = table[table["seeds"] > 1].sample(20, random_state=0)
    for _, row in rows.iterrows():
        made = [records.read(RESULTS / place) for place in row["records"].split()]
        ours = [record.before if row["defense"] == "none" else record.after for record in made]
        mean, low, high = seed_interval([scores.clean_accuracy for scores in ours])
        assert [row["acc"], row["acc_low"], row["acc_high"]] == pytest.approx([mean, max(low, 0), min(high, 1)])
        assert len({record.parameters["seed"] for record in made}) == row["seeds"] == len(made)
        if row["attack"] != "none" and row["defense"] != "none":
            der = [defense_effectiveness(record.before, record.after) for record in made]
            assert row["der"] == pytest.approx(sum(der) / len(der))
            assert row["asr"] == pytest.approx(sum(scores.asr for scores in ours) / len(ours))
    clean = table[table["attack"] == "none"]
    assert len(clean) and clean["asr"].isna().all() and (clean["poison_rate"] == 0).all()


def test_the_headline_row_of_a_chapter_is_its_headline_study(table):
    for paper in ("nad", "rnp", "pdb"):
        point = next(point for _, point in notebooks.study(paper, "quick", "headline"))
        row = table.query("profile == 'quick' and attack == 'badnets' and setting == '' and defense == @paper")
        row = row[row["poison_rate"] == 0.1].iloc[0]
        assert f"quick/{paper}/{records.path(paper, 'quick', point).name}" in row["records"]
    control = table[(table["defense"] == "fine_tune") & table["setting"].str.contains("learning_rate=None")]
    assert control["setting"].str.contains("epochs=").all() and len(control)  # the shared control is no headline row


def made(seed=0, asr=0.2, **changes):
    parameters = records.decisive(notebooks.parameters("nad", "cifar") | {"seed": seed} | changes)
    scores = Scores(0.9, 1.0, 0.0, 0.9), Scores(0.85, asr, 0.7, 0.85)
    return Record("nad", parameters, *scores, None, runtime={"commit": "c", "peak_process_memory_bytes": 5e8},
                  versions=versions("nad", parameters), passes={"forward": 10, "backward": 4})  # fmt: skip


def rows_of(folder, *made_records):
    for record in made_records:
        record.save(folder / "cifar" / record.paper / record.name)
    return board.board_table(folder)


def test_seeds_share_a_row_and_other_settings_do_not(tmp_path):
    rows = rows_of(tmp_path, made(), made(1, 0.4), made(2, 0.6), made(batch_size=32), made(poison_rate=0.05))
    nad = rows[rows["defense"] == "nad"]
    assert [*nad["setting"]] == ["", "", "batch_size=32"] and [*nad["seeds"]] == [1, 3, 1]
    row = nad.iloc[1]
    assert row["asr"] == pytest.approx(0.4) and row["asr_low"] == 0.0 and 0.8 < row["asr_high"] <= 1
    assert (row["forward_passes"], row["backward_passes"], row["peak_memory_mb"]) == (10, 4, 500)
    victims = rows[rows["defense"] == "none"]
    assert [*victims["seeds"]] == [1, 3] and (victims["asr"] == 1).all()  # a victim once, though two runs defend it


def test_of_a_benchmarks_cells_those_of_the_same_setting_and_no_others(tmp_path):
    cell = reported("backdoorbench").query("dataset == 'CIFAR-10' and attack == 'BadNets' and defense == 'nad'")
    cell = cell.set_index("poison_rate")
    others = [made(poison_rate=0.02), made(batch_size=32), made(attack="sig", poison_rate=0.5)]
    rows = rows_of(tmp_path, made(), made(poison_rate=0.01), *others)
    rows = rows[rows["defense"] == "nad"]
    for rate in (0.1, 0.01):
        row = rows[(rows["attack"] == "badnets") & (rows["poison_rate"] == rate) & (rows["setting"] == "")].iloc[0]
        assert row["benchmark_asr"] == pytest.approx(cell.loc[rate, "asr_percent"] / 100)
        assert row["benchmark_acc"] == pytest.approx(cell.loc[rate, "acc_percent"] / 100)
    odd = rows[(rows["poison_rate"] == 0.02) | (rows["setting"] != "")]
    assert len(odd) == 2 and odd["benchmark_acc"].isna().all()
    sig = reported("backdoorbench").query("attack == 'SIG' and defense == 'nad' and poison_rate == 0.05")
    ours = rows[rows["attack"] == "sig"].iloc[0]  # half of a class of ten: five per cent of all images
    assert ours["poison_rate"] == 0.05
    assert ours["benchmark_acc"] == pytest.approx(sig.iloc[0]["acc_percent"] / 100) if len(sig) else True


def test_every_published_cell_on_the_board_is_that_of_the_file(table):
    cells = reported("backdoorbench")
    shown = table.dropna(subset="benchmark_acc")
    assert len(shown) and (shown["profile"] != "quick").all() and (shown["setting"] == "").all()
    for _, row in shown.iterrows():
        same = cells[cells["poison_rate"] == row["poison_rate"]]
        for column in ("dataset", "attack", "defense"):
            same = same[same[f"{column}_key"] == row[column]]
        assert len(same) == 1 and same.iloc[0]["model"] == "PreAct-ResNet18"
        assert 100 * row["benchmark_acc"] == pytest.approx(same.iloc[0]["acc_percent"])
        assert 100 * row["benchmark_asr"] == pytest.approx(same.iloc[0]["asr_percent"])


def test_rates_are_shares_of_all_images_where_that_is_known():
    assert share_of_images({"attack": "badnets", "dataset": "gtsrb", "poison_rate": 0.1}) == 0.1
    assert share_of_images({"attack": "sig", "dataset": "cifar10", "poison_rate": 0.1}) == 0.01
    assert share_of_images({"attack": "sig", "dataset": "gtsrb", "poison_rate": 0.1}) is None
    assert share_of_images({"attack": "none", "dataset": "cifar10", "poison_rate": 0.1}) == 0


def decoded(script):
    data = json.loads(script.decode().removeprefix("window.BOARD_DATA=").removesuffix(";\n"))
    columns = {name: [column["words"][code] for code in column["codes"]] if isinstance(column, dict) else column
               for name, column in data["columns"].items()}  # fmt: skip
    return data, columns


def test_the_page_gets_every_row_and_the_address_of_every_record(table):
    data, columns = decoded(board_page.data_script(table))
    assert data["rows"] == len(table) == len(columns["asr"])
    assert columns["acc"] == [pytest.approx(round(100 * value, 2)) for value in table["acc"]]
    for i, places in enumerate(table["records"]):
        names = [columns["record_start"][i] + rest for rest in columns["record_rest"][i].split()]
        assert [f"{columns['profile'][i]}/{name}.json" for name in names] == places.split()
    assert {key: entry.split("{")[1].split(",")[0] for key, entry in data["bibtex"].items()} == {
        k: k for k in data["bibtex"]
    }
    assert {*table["attack"], *table["defense"]} <= {*data["references"]}
    assert re.fullmatch(r"https://github\.com/[\w/-]+/blob/main/results/", data["address"])


def test_every_attack_and_defence_has_an_entry_for_the_bibtex_button():
    assert {*board_page.REFERENCES} == {*ATTACKS, *DEFENSES}


def test_the_data_grow_with_the_rows_and_no_faster(table):
    many = pd.concat([table] * math.ceil(5000 / len(table)), ignore_index=True)
    sizes = {rows: len(board_page.data_script(many.head(rows))) for rows in (2500, 5000)}
    assert sizes[5000] < 2.1 * sizes[2500] and sizes[5000] / 5000 < 300  # bytes a row


def test_the_figure_shows_the_headline_rows_and_bears_their_absence(table):
    rows = board_rates.rates_rows(table, "cifar")
    assert {*rows["setting"]} == {""} and rows["network"].nunique() == rows["dataset"].nunique() == 1
    assert board_rates.rates_svg(table, "cifar") == board_rates.rates_svg(table, "cifar")
    assert (
        b"badnets" in board_rates.rates_svg(table.head(0), "quick")
        or board_rates.rates_rows(table.head(0), "quick").empty
    )


def test_the_pages_scripts_are_sound_and_load_nothing_from_elsewhere():
    folder = ROOT / "book" / "_static" / "board"
    page = (ROOT / "book" / "board.md").read_text()
    for path in folder.glob("board*.js"):
        assert f"../_static/board/{path.name}" in page and len(path.read_text().splitlines()) <= 150
        assert not re.search(r"https?://|import\(|fetch\(", path.read_text())
    used = {name for path in folder.glob("board*.js") for name in re.findall(r'find\("(\w+)"\)', path.read_text())}
    assert used <= {*re.findall(r'id="board-(\w+)"', page)}
    assert "MIT" in (folder / "LICENSE.tabulator").read_text()
