"""Measures that need the trigger."""

import math

import pytest
import torch

from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.trigger_analysis import (
    joined,
    precision_at,
    rank_correlation,
    trigger_activated_change,
)
from bdlib.models import tap

LAYERS = ("layer2.0.bn1", "layer3")


def test_triggered_change_is_the_sum_over_pixels_of_the_mean_change(backdoored, test_set, trigger):
    some = test_set[torch.arange(20)]
    found = trigger_activated_change(backdoored, some, trigger, LAYERS)
    with torch.no_grad(), tap(backdoored, "layer3") as plain:
        backdoored(some.images.float() / 255)
    with torch.no_grad(), tap(backdoored, "layer3") as moved:
        backdoored(apply_trigger(some.images, trigger).float() / 255)
    assert found["layer3"][7].item() == pytest.approx(
        sum((moved["layer3"][i, 7] - plain["layer3"][i, 7]).abs().sum().item() for i in range(20)) / 20, rel=1e-4
    )
    assert [len(found[name]) for name in LAYERS] == [64, 128] and len(joined(found)) == 192


def test_nothing_changes_without_a_trigger(backdoored, test_set):
    assert trigger_activated_change(backdoored, test_set, lambda images: images, LAYERS)["layer3"].max() == 0


def test_ranks_and_precision():
    one = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(one, one**3) == pytest.approx(1) and rank_correlation(one, -one) == pytest.approx(-1)
    assert precision_at(2, one, torch.tensor([0.0, 5.0, 1.0, 9.0])) == 0.5


def test_tied_values_share_a_rank_and_a_constant_has_none():
    one, other = torch.tensor([1.0, 1.0, 2.0, 3.0]), torch.tensor([4.0, 3.0, 2.0, 1.0])
    ranks = torch.tensor([[1.5, 1.5, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    assert rank_correlation(one, other) == pytest.approx(torch.corrcoef(ranks)[0, 1].item(), abs=1e-6)
    assert rank_correlation(one[:2] + torch.tensor([0.0, 1.0]), other[:2]) == pytest.approx(-1)
    assert math.isnan(rank_correlation(one, torch.ones(4))) and math.isnan(rank_correlation(torch.ones(4), one))
