"""The zoo: published victims hold exactly the numbers that were scored, and nothing else is taken for them."""

import warnings

import pytest
import torch

from bdlib import folders, load_victim
from bdlib.checks import ParameterError
from bdlib.experiments import published, victims, zoo
from bdlib.experiments.sources import fact_of
from bdlib.experiments.victims import VictimConfig
from bdlib.files import FileError
from bdlib.runtime import runtime_facts

PLAN = """
tiny:
  - {dataset: [fashion], data_fraction: [0.02], victim_epochs: [1], attack: [badnets, input_aware, trojan], seed: [0]}
"""


@pytest.fixture(autouse=True)
def zoo_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(folders, "ZOO", tmp_path / "zoo")
    folders.ZOO.mkdir()
    (folders.ZOO / "victims.yaml").write_text(PLAN)
    return folders.ZOO


def config_of(attack):
    return VictimConfig(data_fraction=0.02, victim_epochs=1, attack=attack)


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_planned_victim_has_the_same_weights_before_and_after_it_is_published():
    config = config_of("badnets")
    trained = victims.trained_victim(config)
    path = published.publish(config)
    assert path == victims.victim_path(config) == zoo.zoo_path(config)
    assert equal(victims.trained_victim(config), trained)
    model, _, target_label = load_victim("fashion", "badnets", seed=0)
    assert equal(model, trained) and target_label == 0 and not model.training
    scores, row = victims.evaluate_victim(config, model, victims.load_data(config)[1]), zoo.manifest()[path.name]
    assert (scores.clean_accuracy, scores.asr) == (row.clean_accuracy, row.asr)
    assert row.threads == fact_of(path, "threads") == runtime_facts()["threads"]  # as records ask for them
    assert row.bytes == path.stat().st_size < 0.6 * 4 * sum(p.numel() for p in model.parameters())


def test_a_victim_that_the_zoo_does_not_plan_is_not_rounded():
    config = VictimConfig(data_fraction=0.02, victim_epochs=1, seed=7)
    weights = victims.trained_victim(config).state_dict()["head.weight"]
    assert not torch.equal(weights, weights.half().float())


@pytest.mark.parametrize("attack", ["input_aware", "trojan"])
def test_a_learned_trigger_is_published_with_its_victim(attack, zoo_folder):
    config = config_of(attack)
    published.publish(config)
    for file in victims.CACHE.rglob("*.safetensors"):
        file.unlink()
    trigger = load_victim("fashion", attack).trigger
    assert equal(trigger, victims.load_trigger(config)) if isinstance(trigger, torch.nn.Module) else trigger
    assert not list(victims.CACHE.rglob("*.safetensors"))  # nothing was made anew


def test_a_damaged_file_is_named_and_not_used():
    config = config_of("badnets")
    path = published.publish(config)
    content = bytearray(path.read_bytes())
    for position in (len(content) // 2, len(content) - 1, 100):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(FileError, match=path.name):
            load_victim("fashion", "badnets")
    path.write_bytes(content)
    assert load_victim("fashion", "badnets")


def test_a_file_that_the_manifest_does_not_list_is_no_victim(zoo_folder):
    config = config_of("badnets")
    published.publish(config)
    (zoo_folder / "manifest.csv").unlink()
    assert zoo.published_path(config) is None
    with pytest.raises(ParameterError, match="the zoo has no victim"):
        load_victim("fashion", "badnets")


@pytest.mark.parametrize(
    "change, words",
    [({"seed": 3}, "seed=3: the zoo has 0"), ({"attack": "sig"}, "attack='sig': the zoo has badnets"),
     ({"dataset": "cifar100"}, "dataset='cifar100': the zoo has fashion"), ({"model": "vgg"}, "model='vgg'")],
)  # fmt: skip
def test_a_victim_that_is_not_there_is_refused_with_what_there_is(change, words):
    published.publish(config_of("badnets"))
    with pytest.raises(ParameterError, match=words):
        load_victim(**({"dataset": "fashion", "attack": "badnets"} | change))


def test_a_line_of_the_manifest_that_is_none_is_refused(zoo_folder):
    published.publish(config_of("badnets"))
    file = zoo_folder / "manifest.csv"
    file.write_text(file.read_text().replace(",badnets,", ",badnets,9"))
    with pytest.raises(FileError, match="line 2: poison_rate"):
        zoo.manifest()


def test_numbers_that_half_precision_does_not_hold_are_refused():
    with pytest.raises(ValueError, match="head.weight"):
        zoo.halved({"head.weight": torch.tensor([1e6])})
    kept = zoo.halved({"bn.running_var": torch.tensor([1e6]), "bn.num_batches_tracked": torch.tensor(3)})
    assert kept["bn.running_var"].dtype == torch.float32 and kept["bn.num_batches_tracked"].dtype == torch.int64


def test_every_published_victim_is_planned_whole_and_small(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = folders.ROOT / "zoo"
        files = {path.name for path in folder.glob("*.safetensors")}
        assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 60e6
        monkeypatch.setattr(folders, "ZOO", folder)
        assert files == {*zoo.manifest()} <= {zoo.zoo_path(config).name for config in zoo.planned()}
