import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

from bdlib.experiments import victims
from bdlib.experiments.victims import VictimConfig, victim

TINY = dict(data_fraction=0.02, victim_epochs=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    return tmp_path


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_victim_is_trained_once_and_read_back_bit_for_bit():
    recipe = VictimConfig(**TINY)
    first = victim(recipe)
    written = recipe.path.stat().st_mtime_ns
    assert equal(first, victim(recipe)) and recipe.path.stat().st_mtime_ns == written
    with safe_open(recipe.path, "pt") as file:
        assert json.loads(file.metadata()["attack"]) == "badnets" and "commit" in file.metadata()


def test_everything_that_shapes_a_victim_is_in_its_name():
    changes = [dict(seed=1), dict(attack="blended"), dict(poison_rate=0.2), dict(victim_epochs=2), dict(target_label=3),
               dict(model="wrn_16_1"), dict(data_fraction=0.5), dict(victim_batch_size=32)]  # fmt: skip
    paths = {VictimConfig(**{**TINY, **change}).path for change in changes} | {VictimConfig(**TINY).path}
    assert len(paths) == len(changes) + 1


def test_a_damaged_cache_file_is_said_and_made_anew():
    recipe = VictimConfig(**TINY)
    first = victim(recipe)
    recipe.path.write_bytes(recipe.path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="cannot be read"):
        again = victim(recipe)
    assert equal(first, again) and equal(first, victim(recipe))


def test_the_twin_is_never_poisoned():
    assert not VictimConfig(attack="none", **TINY).poisoned().is_poisoned.any()


def test_clean_label_attacks_poison_the_target_class_only():
    poisoned = VictimConfig(attack="sig", poison_rate=0.5, target_label=2, **TINY).poisoned()
    assert (poisoned.data.labels[poisoned.is_poisoned] == 2).all() and poisoned.is_poisoned.sum() == 12


def test_killed_while_training_it_leaves_nothing_and_the_next_call_does_it(cache):
    command = [
        sys.executable,
        "-m",
        "bdlib.experiments.victims",
        json.dumps({"data_fraction": 0.05, "victim_epochs": 400}),
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "BDLIB_CACHE": str(cache)}, stdout=subprocess.PIPE, text=True
    )
    assert "epoch 1 of" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(cache.rglob("*.safetensors"))
    command[-1] = json.dumps({"data_fraction": 0.05, "victim_epochs": 1})
    subprocess.run(command, env={**os.environ, "BDLIB_CACHE": str(cache)}, check=True, capture_output=True)
    assert len(list(cache.rglob("*.safetensors"))) == 1 and not list(cache.rglob("*.part"))
