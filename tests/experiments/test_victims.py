"""Victims, triggers and selections: made once, read back bit for bit, and named by all that shapes them."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import bdlib.attacks.poisoning
import bdlib.data.datasets
import bdlib.data.images
import bdlib.models
import bdlib.training.loop
from bdlib import attacks
from bdlib.attacks import ATTACKS
from bdlib.attacks.badnets import BadNets
from bdlib.attacks.selection import lps
from bdlib.experiments import keys, victims
from bdlib.experiments.victims import (
    VictimConfig,
    load_data,
    load_selection,
    load_trigger,
    poisoned_set,
    select,
    selection_path,
    trained_victim,
    trigger_path,
    victim_path,
)
from bdlib.runtime import added_field

TINY = dict(data_fraction=0.02, victim_epochs=1)
SELECTS = {**TINY, "poison_rate": 0.05, "rounds": 1, "iterations": 1, "iteration_epochs": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    return tmp_path


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


# Victims


def test_a_victim_is_trained_once_and_read_back_bit_for_bit():
    config = VictimConfig(**TINY)
    first, path = trained_victim(config), victim_path(config)
    written = path.stat().st_mtime_ns
    assert equal(first, trained_victim(config)) and path.stat().st_mtime_ns == written
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["attack"]) == "badnets" and "commit" in file.metadata()


def test_a_damaged_cache_file_is_said_and_made_anew():
    config = VictimConfig(**TINY)
    first, path = trained_victim(config), victim_path(config)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is not used"):
        again = trained_victim(config)
    assert equal(first, again) and equal(first, trained_victim(config))


def test_the_clean_model_is_never_poisoned():
    assert not poisoned_set(VictimConfig(attack="none", **TINY)).is_poisoned.any()


def test_clean_label_attacks_poison_the_target_class_only():
    poisoned = poisoned_set(VictimConfig(attack="sig", poison_rate=0.5, target_label=2, **TINY))
    assert (poisoned.data.labels[poisoned.is_poisoned] == 2).all() and poisoned.is_poisoned.sum() == 12


def test_killed_while_training_it_leaves_nothing_and_the_next_call_does_it(cache):
    def command(**settings):
        options = [word for name, value in settings.items() for word in ("-p", f"{name}={value}")]
        return [sys.executable, "-m", "bdlib.cli", "victims", "-p", "data_fraction=0.05", *options]

    environment = {**os.environ, "BDLIB_CACHE": str(cache)}
    process = subprocess.Popen(command(victim_epochs=400), env=environment, stdout=subprocess.PIPE, text=True)
    assert "epoch 1 of" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(cache.rglob("*.safetensors"))
    subprocess.run(command(victim_epochs=1), env=environment, check=True, capture_output=True)
    assert len(list(cache.rglob("*.safetensors"))) == 1 and not list(cache.rglob("*.part"))


# Names


def paths(config):
    return victim_path(config), trigger_path(config), selection_path(config)


def test_everything_that_shapes_a_victim_is_in_its_name():
    changes = [dict(seed=1), dict(attack="blended"), dict(poison_rate=0.2), dict(victim_epochs=2), dict(target_label=3),
               dict(model="wrn_16_1"), dict(data_fraction=0.5), dict(victim_batch_size=32), dict(selection="lps"),
               dict(selection="lps", rounds=2), dict(label_map="all_to_all"), dict(attack="wanet"),
               dict(attack="wanet", cover_samples=False), dict(selection="fus"), dict(dataset="gtsrb")]  # fmt: skip
    names = {victim_path(VictimConfig(**{**TINY, **change})) for change in changes} | {
        victim_path(VictimConfig(**TINY))
    }
    assert len(names) == len(changes) + 1


def test_every_field_changes_the_name_of_what_it_decides():
    """Of a victim whose images LPS or FUS selects all fields count, but those of the other selection."""
    changed = {"dataset": "gtsrb", "data_fraction": 0.5, "model": "wrn_16_1", "attack": "blended", "target_label": 1,
               "poison_rate": 0.2, "victim_epochs": 2, "victim_batch_size": 32, "seed": 1, "rounds": 2,
               "round_epochs": 2, "iterations": 2, "iteration_epochs": 3, "keep_ratio": 0.4,
               "trigger_strength": 0.5}  # fmt: skip
    decided_elsewhere = {"label_map", "selection", "cover_samples"}
    assert {field.name for field in dataclasses.fields(VictimConfig)} == changed.keys() | decided_elsewhere
    for selection, others in (
        ("lps", ("iterations", "iteration_epochs", "keep_ratio")),
        ("fus", ("rounds", "round_epochs")),
    ):
        base = VictimConfig(selection=selection, **SELECTS)
        for name, value in changed.items():
            assert (victim_path(replace(base, **{name: value})) == victim_path(base)) == (name in others), name


def test_a_selection_is_not_named_after_the_victims_training_but_the_victim_is_after_the_selection():
    base = {"selection": "lps", **SELECTS}
    changes = [{}, {"seed": 1}, {"attack": "blended"}, {"poison_rate": 0.1}, {"rounds": 2}, {"round_epochs": 2},
               {"victim_batch_size": 32}, {"data_fraction": 0.5}, {"target_label": 1}, {"selection": "fus"},
               {"model": "wrn_16_1"}, {"selection": "lps_lowest"}]  # fmt: skip
    configs = [VictimConfig(**(base | change)) for change in changes]
    assert len({selection_path(c) for c in configs}) == len({victim_path(c) for c in configs}) == len(changes)
    one, longer = (VictimConfig(**(base | {"victim_epochs": epochs})) for epochs in (1, 2))
    assert selection_path(one) == selection_path(longer) and victim_path(one) != victim_path(longer)


def test_random_selection_has_no_settings():
    plain = {name: value for name, value in SELECTS.items() if name not in ("rounds", "iterations", "iteration_epochs")}
    assert victim_path(VictimConfig(**SELECTS)) == victim_path(VictimConfig(**plain))


@pytest.mark.parametrize("module", [bdlib.data.datasets, bdlib.data.images, bdlib.models, bdlib.training.loop,
                                    bdlib.attacks.poisoning, keys])  # fmt: skip
def test_a_new_version_of_the_data_the_network_the_loop_or_poisoning_renames_all(module, monkeypatch):
    config = VictimConfig(selection="lps", **SELECTS)
    before = paths(config)
    monkeypatch.setattr(module, "NUMBERS_VERSION", 99)
    assert all(old != new for old, new in zip(before, paths(config), strict=True))


def test_a_new_version_of_an_attack_or_a_selection_renames_its_own_only(monkeypatch):
    blended, badnets = (VictimConfig(attack=name, selection="lps", **SELECTS) for name in ("blended", "badnets"))
    fus, random = replace(badnets, selection="fus"), replace(badnets, selection="random")
    before = [victim_path(config) for config in (blended, badnets, fus, random)]
    monkeypatch.setitem(ATTACKS, "blended", replace(ATTACKS["blended"], NUMBERS_VERSION=99))
    assert [victim_path(c) == old for c, old in zip((blended, badnets, fus, random), before, strict=True)] == [
        False, True, True, True]  # fmt: skip
    monkeypatch.setattr(lps, "NUMBERS_VERSION", 99)
    assert [victim_path(c) == old for c, old in zip((badnets, fus, random), before[1:], strict=True)] == [
        False, True, True]  # fmt: skip


def test_the_settings_of_a_trigger_and_of_an_attack_are_in_the_name(monkeypatch):
    config, trojan = VictimConfig(**TINY), VictimConfig(attack="trojan", **TINY)
    before = victim_path(config), victim_path(trojan), trigger_path(trojan)
    monkeypatch.setitem(ATTACKS, "badnets", replace(ATTACKS["badnets"], trigger=BadNets(margin=1)))
    monkeypatch.setitem(ATTACKS, "trojan", replace(ATTACKS["trojan"], steps=50))
    after = victim_path(config), victim_path(trojan), trigger_path(trojan)
    assert all(old != new for old, new in zip(before, after, strict=True))


@dataclass(frozen=True)
class WithField(VictimConfig):
    """A field that is added later; without it a victim was what it is with three."""

    layers: int = added_field(3)


@dataclass(frozen=True)
class WithOtherDefault(VictimConfig):
    layers: int = dataclasses.field(default=4, metadata=WithField.__dataclass_fields__["layers"].metadata)


@dataclass(frozen=True)
class Larger(BadNets):
    rotation: float = added_field(0.0)


def test_a_field_that_is_added_renames_nothing_until_it_is_used(monkeypatch):
    assert paths(WithField(selection="lps", **SELECTS)) == paths(VictimConfig(selection="lps", **SELECTS))
    assert victim_path(WithField(layers=2, **TINY)) != victim_path(VictimConfig(**TINY))
    assert victim_path(WithOtherDefault(layers=3, **TINY)) == victim_path(VictimConfig(**TINY))
    assert victim_path(WithOtherDefault(**TINY)) == victim_path(WithField(layers=4, **TINY))  # the default moved on
    before = victim_path(VictimConfig(**TINY))
    monkeypatch.setitem(ATTACKS, "badnets", replace(ATTACKS["badnets"], trigger=Larger()))
    assert victim_path(VictimConfig(**TINY)) == before  # nor does a class that is renamed
    monkeypatch.setitem(ATTACKS, "badnets", replace(ATTACKS["badnets"], trigger=Larger(rotation=5.0)))
    assert victim_path(VictimConfig(**TINY)) != before


def test_a_whole_number_names_what_the_same_float_names():
    assert victim_path(VictimConfig(data_fraction=1)) == victim_path(VictimConfig(data_fraction=1.0))


def test_the_names_of_some_victims_are_these():
    """When this fails, cached victims are made again: only a NUMBERS_VERSION or a setting's value should do that."""
    assert [path.stem for path in paths(VictimConfig(attack="ssba", selection="fus", seed=2))] == [
        "fashion-small_resnet-ssba-0.1-seed2-93488a4d",
        "fashion-small_resnet-ssba-seed2-68b11299",
        "fashion-small_resnet-ssba-0.1-fus-seed2-fcd5736f",
    ]


def test_asking_for_a_path_makes_nothing(cache):
    names = {victim_path(VictimConfig(attack=name, **TINY)) for name in ATTACKS}
    names |= {victim_path(VictimConfig(attack="wanet", cover_samples=False, **TINY))}
    assert len(names) == 12 and not list(cache.iterdir())


# Triggers


@pytest.mark.parametrize("name", ["trojan", "label_consistent"])
def test_an_optimized_trigger_is_made_once_and_read_back_equal(name, cache):
    config = VictimConfig(attack=name, **TINY)
    made, path = load_trigger(config), trigger_path(config)
    written = path.stat().st_mtime_ns
    again = load_trigger(replace(config, poison_rate=0.2, victim_epochs=9))
    assert path.stat().st_mtime_ns == written and len(list(cache.rglob("*.safetensors"))) == 1
    assert equal(made, again) and not made.training and not any(p.requires_grad for p in made.parameters())
    other = load_trigger(replace(config, seed=1))
    assert not torch.equal(*(torch.cat([v.float().flatten() for v in m.state_dict().values()]) for m in (made, other)))


def test_a_trigger_that_is_trained_with_its_victim_is_in_the_victims_file(cache):
    config = VictimConfig(attack="input_aware", **TINY)
    first, trigger, path = trained_victim(config), load_trigger(config), victim_path(config)
    written = path.stat().st_mtime_ns
    x = load_data(config)[1].images[:8] / 255
    assert torch.equal(trigger(x), load_trigger(config)(x)) and path.stat().st_mtime_ns == written
    assert torch.equal(first(x), trained_victim(config)(x)) and len(list(cache.rglob("*.safetensors"))) == 1


def test_the_attacker_starts_from_other_weights_than_the_victim(monkeypatch):
    config, made = VictimConfig(attack="trojan", **TINY), []

    def fit(self, train, make_model, *, augmentation, seed):
        made.append((make_model(), seed))
        return self.blank((1, 28, 28), make_model)

    monkeypatch.setattr(type(ATTACKS["trojan"]), "fit", fit)
    load_trigger(config)
    [(network, seed)] = made
    assert seed != config.seed and not torch.equal(network.head.weight, config.untrained().head.weight)


# Selections


@pytest.mark.parametrize("key", ["fus", "lps"])
def test_the_selected_images_are_kept_and_found_again(key):
    config = VictimConfig(selection=key, seed=3, **SELECTS)
    selected, path = load_selection(config), selection_path(config)
    written = path.stat().st_mtime_ns
    again = select(config, load_data(config)[0])
    assert all(torch.equal(selected[name], again[name]) for name in again) and {"rounds", "losses"} < selected.keys()
    assert load_selection(config).keys() == selected.keys() and path.stat().st_mtime_ns == written
    assert torch.equal(poisoned_set(config).is_poisoned.nonzero().squeeze(1), load_file(path)["ids"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="is not used .* it is made anew"):
        assert torch.equal(load_selection(config)["ids"], selected["ids"])


def test_a_selection_on_other_data_is_not_that_of_the_whole_set():
    config = VictimConfig(selection="lps", **SELECTS)
    half = load_data(config)[0][torch.arange(100)]
    poisoned = poisoned_set(config, half)
    assert len(poisoned.data) == 100 and poisoned.is_poisoned.sum() == 5 and not selection_path(config).exists()


def test_a_surrogate_never_has_the_victims_weights(monkeypatch):
    config, started = VictimConfig(selection="lps", **SELECTS), []

    def watched(train, trigger, *, make_model, **_):
        started.append(make_model())
        return torch.tensor([1])

    monkeypatch.setitem(attacks.SELECTIONS, "lps", watched)
    select(config, load_data(config)[0])
    same = zip(started[0].parameters(), config.untrained().parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in same)
