"""Relabelings, and the test images that an attack concerns."""

import pytest
import torch

from bdlib.evaluation.apply_trigger import LABEL_MAPS, AllToAll, AllToOne, apply_trigger, attacked_set, triggered_set


def test_all_to_all_is_a_bijection_without_fixed_point():
    labels = torch.arange(10)
    assert sorted(AllToAll(10)(labels).tolist()) == list(range(10)) and (AllToAll(10)(labels) != labels).all()


def test_label_maps_take_what_they_need():
    assert LABEL_MAPS["all_to_one"](3, 10) == AllToOne(3) and LABEL_MAPS["all_to_all"](3, 10) == AllToAll(10)


@pytest.mark.parametrize("relabel", [AllToOne(2), AllToAll(4)])
def test_the_attack_concerns_the_images_that_it_relabels(relabel, test_set, trigger):
    attacked, labels = attacked_set(test_set, trigger, relabel), test_set.labels
    clean = test_set[relabel(labels) != labels]
    assert torch.equal(attacked.clean.images, clean.images) and torch.equal(attacked.wanted, relabel(clean.labels))
    assert torch.equal(attacked.triggered.images, apply_trigger(clean.images, trigger))
    assert torch.equal(attacked.triggered.labels, clean.labels) and (attacked.wanted != clean.labels).all()


def test_the_triggered_set_is_that_of_a_single_target(test_set, trigger):
    ours, known = triggered_set(test_set, trigger, target_label=2), attacked_set(test_set, trigger, AllToOne(2))
    assert torch.equal(ours.images, known.triggered.images) and torch.equal(ours.labels, known.clean.labels)
