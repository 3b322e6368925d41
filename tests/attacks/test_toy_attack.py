"""A new attack is one file, and one line in the registry; the rest of the library then knows it."""

import re
from pathlib import Path

import pytest
import torch

from bdlib import attacks
from bdlib.attacks import ATTACKS
from bdlib.checks import ParameterError
from bdlib.evaluation.apply_trigger import AllToOne
from bdlib.evaluation.metrics import evaluate_attack
from bdlib.experiments import victims
from bdlib.experiments.victims import (
    VictimConfig,
    evaluate_victim,
    load_data,
    load_trigger,
    poisoned_set,
    trained_victim,
    victim_path,
)
from bdlib.training.loop import Schedule

ONE_FILE = '''
"""Stripes: every fourth row is white."""

from dataclasses import dataclass

from bdlib.attacks.attack import Attack
from bdlib.checks import CheckedFields
from bdlib.ranges import Count
from bdlib.types import Images


@dataclass(frozen=True)
class Stripes(CheckedFields):
    """The trigger."""

    distance: Count = 4  # rows

    def __call__(self, images: Images) -> Images:
        triggered = images.clone()
        triggered[..., :: self.distance, :] = 1.0
        return triggered


ATTACK = Attack(NUMBERS_VERSION=1, trigger=Stripes())
'''


@pytest.fixture
def stripes(one_file_module, tmp_path, monkeypatch):
    """The file, and the line that the registry would have."""
    monkeypatch.setattr(victims, "CACHE", tmp_path / "cache")
    monkeypatch.setitem(ATTACKS, "stripes", one_file_module("stripes", ONE_FILE).ATTACK)
    return ATTACKS["stripes"]


def test_the_registry_has_one_line_and_one_file_for_each_attack():
    source = Path(attacks.__file__).read_text(encoding="utf-8")
    for name in ATTACKS:
        assert len(re.findall(rf'^        "{name}",$', source, re.MULTILINE)) == 1
        assert (Path(attacks.__file__).parent / f"{name}.py").is_file()


def test_a_new_attack_poisons_trains_and_is_scored(stripes, clean, test_set, make_model):
    trigger = stripes.fit(clean, make_model, augmentation=None, seed=0)
    assert stripes.poison(clean, trigger, AllToOne(0), poison_rate=0.1, seed=0).is_poisoned.sum() == 20
    model, schedule = make_model(), Schedule(8, 0.05, batch_size=32, augmentation=None)
    stripes.train_victim(model, clean, trigger, AllToOne(0), schedule, poison_rate=0.2)
    scores = evaluate_attack(model, test_set, trigger, AllToOne(0))
    assert scores.asr > 0.9 and scores.clean_accuracy > 0.9


def test_a_new_attack_is_a_victims_parameter(stripes):
    config = VictimConfig(attack="stripes", data_fraction=0.02, victim_epochs=1)
    test, model = load_data(config)[1], trained_victim(config)
    assert victim_path(config).is_file() and load_trigger(config) is stripes.trigger
    assert poisoned_set(config).is_poisoned.sum() == round(0.1 * len(load_data(config)[0]))
    assert 0 <= evaluate_victim(config, model, test).asr <= 1
    x = test.images[:8] / 255
    assert torch.equal(model(x), trained_victim(config)(x))


def test_without_the_line_the_attack_is_unknown_and_the_error_lists_the_others():
    with pytest.raises(ParameterError, match=r"^attack='stripes': must be one of none, badnets, .*, bpp$"):
        VictimConfig(attack="stripes")
