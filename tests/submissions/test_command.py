"""`bdlib evaluate` from a file to a table: a defense on a folder, an attack on a Parquet file, a network."""

import os
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from PIL import Image
from toy_task import toy

from bdlib import cli
from bdlib.attacks import ATTACKS
from bdlib.data.datasets import CLASS_NAMES, DATASETS, OWN
from bdlib.experiments import records, victims
from bdlib.submissions import outcome
from bdlib.submissions.new import write_new
from bdlib.submissions.source import Source
from bdlib.submissions.table import among, of_the_book
from bdlib.submissions.victims import place_of

STATED = """
from torch import nn
def make(channels, num_classes):
    layers = nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(128, num_classes))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with the toy task as pictures and as a Parquet file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(victims, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(outcome, "RUNS", tmp_path / "runs")
    rows = {"image": [], "label": []}
    for part, count in (("train", 120), ("test", 60)):
        data = toy(count, seed=len(part))
        for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
            path = Path("pictures", part, f"class {label}", f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
            rows["image"].append({"bytes": path.read_bytes()})
            rows["label"].append(label)
    pyarrow.parquet.write_table(pyarrow.table(rows), "toy.parquet")
    registries = [(registry, dict(registry)) for registry in (DATASETS, CLASS_NAMES, OWN)]
    yield tmp_path
    for registry, kept in registries:
        registry.clear()
        registry.update(kept)


def call(*words):
    common = ("--size", "16", "--smoke", "--seed", "0")
    return CliRunner().invoke(cli.main, ["evaluate", *words, *common])


def test_a_defense_on_a_folder_of_images(place):
    write_new("defense", "wash", "Washing", place)
    done = call("wash.py:purify", "--on", "pictures", "--attack", "badnets", "--against", "fine_tune", "-p", "epochs=1")
    assert done.exit_code == 0, done.output
    assert "no sandbox" in done.output and "to be trained first: 1, in about" in done.output
    assert re.search(r"^> wash +[\d.]+ +[\d.]+ ", done.output, re.M) and re.search(r"^fine-tuning ", done.output, re.M)
    assert "bdlib new defense wash" in done.output
    made = [records.read(path) for path in sorted(place.rglob("runs/quick/comparison/*.json"))]
    assert sorted(record.parameters["defense"] for record in made) == ["fine_tune", "wash"]
    assert made[0].before == made[1].before


def test_an_attack_on_a_parquet_file(place):
    write_new("attack", "square", "A square", place)
    done = call("square.py:trigger", "--on", "toy.parquet", "--against", "fine_tune")
    assert done.exit_code == 0, done.output
    assert "victim: ACC" in done.output and "fine-tuning" in done.output and not [n for n in ATTACKS if "square" in n]
    Path("broken.py").write_text("def trigger(images):\n    return images.shape['h']\n", "utf-8")
    done = call("broken.py:trigger", "--on", "toy.parquet", "--against", "fine_tune")
    assert done.exit_code == 1 and "broken: FAILED: TypeError: tuple indices must be" in done.output
    assert "(broken.py, line 2)" in done.output


def test_a_network_and_the_defenses_that_do_not_apply_to_it(place):
    Path("plain.py").write_text(STATED, "utf-8")
    done = call("plain.py:make", "--on", "pictures", "--attack", "badnets", "--against", "anp,fine_tune")
    assert done.exit_code == 0, done.output
    assert "anp does not apply: model: filters are masked in" in done.output and "epoch 2 of 2" in done.output
    assert re.search(r"^fine-tuning ", done.output, re.M)


@pytest.mark.parametrize("words, culprit", [
    (["wash.py:clean"], "ParameterError: source='wash.py:clean': wash.py has no clean; it has purify"),
    (["wash.py:purify", "--on", "imagenet"], "ParameterError: on='imagenet': must be fashion, cifar10, or a folder"),
    (["wash.py:purify", "-p", "epoch=1"], "ParameterError: epoch: no such keyword; purify has strength, epochs"),
    (["wash.py:purify", "--against", "nda"], "ParameterError: against='nda': must be one of fine_tune"),
    (["wash.py:purify", "--attack", "badnet"], "ParameterError: attack='badnet': must be one of none"),
    (["wash.txt:purify"], "ParameterError: source='wash.txt:purify': must be FILE.py:FUNCTION"),
    (["other.py:purify"], "FileError: "),
])  # fmt: skip
def test_what_cannot_be_is_one_line_before_any_compute(words, culprit, place):
    write_new("defense", "wash", "Washing", place)
    done = call(*words)
    assert done.exit_code == 2 and done.stderr.startswith(culprit) and done.stderr.count("\n") == 1, done.output
    assert not os.path.exists("cache")


def test_own_images_in_one_folder_are_split_and_named(place):
    one = place_of("pictures/train", size=16)
    assert sum(DATASETS[one.dataset].counts) == 120 and one.victim_epochs == 60 and one.folder.endswith("train")
    assert CLASS_NAMES[one.dataset] == ("class 0", "class 1", "class 2", "class 3")


def test_the_books_rows_of_the_same_victims_are_beside_it():
    runs = of_the_book("cifar", ["badnets"], [0, 1])
    assert {"NAD", "shared control"} <= set(runs["method"]) and set(runs["seed"]) == {0, 1}
    own = runs[runs["method"] == "NAD"].assign(method="> own")
    table = among(own, runs, "badnets")
    assert table.loc["> own", "ASR (%)"] == table.loc["NAD", "ASR (%)"] and table.index[0] == "victim, undefended"
    configs = place_of("cifar10").configs(["badnets", "sig"], [0])
    assert [config.poison_rate for config in configs] == [0.1, 0.5]
    assert all(victims.victim_path(config).is_file() for config in configs)  # in the zoo
    assert Source(Path("a/own.py"), "f", "defense", (), (), "").name == "own"
