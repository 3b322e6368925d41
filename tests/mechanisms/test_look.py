"""Where the workshop looks, and what the audit of a repair must say of networks that are known."""

import pytest
import torch

from bdlib.mechanisms import workshop_readings as read
from bdlib.mechanisms.reactivation import reactivation
from bdlib.mechanisms.workshop import workshop
from bdlib.mechanisms.workshop_look import looking_at, mixed, quadrant, touched_cells
from bdlib.types import EventLog


class AlwaysTarget(torch.nn.Module):
    def forward(self, images):
        return torch.eye(4)[[0] * len(images)]


def test_a_patch_has_a_place_and_a_veil_has_none(test_set, trigger):
    how = {"layer": "layer2", "looked_at": 80, "cells": 4, "orders": 1, "target_label": 0}
    look = looking_at(test_set, trigger, **how)
    assert len(look.attacked.clean) == 80 and (look.attacked.clean.labels != 0).all()
    assert look.region is not None and 1 <= int(look.region.sum()) <= 9
    part = quadrant(look.region)
    assert int(part.sum()) == 64 and (part & look.region).sum() == look.region.sum()
    assert touched_cells(look.region, 4).sum() <= 4
    assert looking_at(test_set, lambda x: 1 - x, **how).region is None
    assert looking_at(test_set, lambda x: x, **how).region is None
    images, is_triggered = mixed(look.attacked)
    assert len(images) == 80 and int(is_triggered.sum()) == 20
    assert read.confusion(AlwaysTarget(), look) == 1.0


def test_equal_networks_have_equal_readings(backdoored, test_set):
    same = [backdoored] * 3
    found = workshop(*same, test_set, lambda x: 1 - x, layer="layer2", looked_at=40, cells=2, orders=1, target_label=0)
    assert found and not any(name.startswith(("grad_cam", "shapley")) for name in found)
    for name in {key.rpartition("_")[0] for key in found}:
        assert found[f"{name}_victim"] == found[f"{name}_repair"] == found[f"{name}_twin"]


def test_an_audit_of_the_victim_finds_it_awake(backdoored, make_model, clean, test_set, trigger):
    events = EventLog()
    short = {"waking_steps": 2, "waking_images": 50, "retuning_images": 50, "retuning_epochs": 1, "epsilon": 0.02}
    twin = make_model()
    found = reactivation(backdoored, backdoored, twin, clean, test_set, trigger, events, target_label=0, **short)
    assert found["existence"] == pytest.approx(1) and found["asleep"] > 0.9
    assert found["excess"] == pytest.approx(
        found["woken"] - max(found[name] for name in ("asleep", "random", "no_trigger", "twin_own"))
    )
    assert found["retuned_gain"] == pytest.approx(found["retuned"] - found["retuned_zero"])
    assert events["perturbation"].abs().max() <= 0.02
    assert all(0 <= value <= 1 for name, value in found.items() if name not in ("excess", "retuned_gain", "existence"))
