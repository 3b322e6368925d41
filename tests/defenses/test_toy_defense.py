"""The contribute page, followed with a toy defense: one file and one line, and the rest of the library knows it."""

import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import evaluate
from bdlib.experiments import notebooks
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.run import defend
from bdlib.experiments.versions import versions

ONE_FILE = '''
"""Shrinking: fine-tuning that also makes the weights small. A toy."""

from copy import deepcopy

from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule, cross_entropy, steps
from bdlib.types import OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


@checked
def shrink(model: nn.Module, clean: ImageSet, *, strength: ranges.Weight = 1e-4, epochs: ranges.Count = 2,
           batch_size: ranges.BatchSize = 32, augmentation: ranges.Augmentation = None, seed: ranges.Seed = 0,
           on_event: OnEvent = ignore) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set."""
    repaired = deepcopy(model).requires_grad_(True)
    schedule = Schedule(epochs, 0.02, batch_size=batch_size, augmentation=augmentation, seed=seed)
    for batch, step in steps(repaired, clean, schedule):
        size = sum(p.square().sum() for p in repaired.parameters())
        step(lambda: cross_entropy(repaired, batch) + strength * size)
        if step.ends_epoch:
            on_event("loss", step.mean_loss)
    return repaired.eval()
'''


@pytest.fixture
def shrink(one_file_module, monkeypatch):
    """The file, and the line that the registry would have."""
    module = one_file_module("shrink", ONE_FILE)
    monkeypatch.setitem(DEFENSES, "shrink", module.shrink)
    return module.shrink


def test_a_new_defense_repairs_and_keeps_the_promises(shrink, backdoored, clean, test_set, trigger):
    before = {name: tensor.clone() for name, tensor in backdoored.state_dict().items()}
    losses = []
    repaired = DEFENSES["shrink"](backdoored, clean, on_event=lambda name, value: losses.append(value))
    assert len(losses) == 2 and not repaired.training
    assert evaluate(repaired, test_set, trigger, target_label=0).clean_accuracy > 0.9
    assert all(torch.equal(tensor, before[name]) for name, tensor in backdoored.state_dict().items())
    with pytest.raises(ParameterError, match="strength=-1: must be a number from 0 to 1000"):
        shrink(backdoored, clean, strength=-1)


def test_a_run_hands_it_its_keywords_and_its_record_has_its_version(shrink):
    changes = {"defense": "shrink", "strength": 1e-3, "epochs": 1}
    parameters = notebooks.parameters("nad", "smoke") | changes
    model = VictimConfig.from_parameters(parameters).untrained()
    repaired = defend("nad", parameters, model)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), repaired.parameters(), strict=True))
    assert versions("nad", parameters)["defense"] == 1
    with pytest.raises(ParameterError, match="strength"):  # nothing is dropped in silence
        defend("nad", {name: value for name, value in parameters.items() if name != "strength"}, model)
