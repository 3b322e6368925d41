"""TrojanNN: the logo, and the neurons that it comes to excite."""

from dataclasses import replace

import torch

from bdlib.attacks.surrogate import brief_training
from bdlib.attacks.trojan import ATTACK, inputs_of_last, logo, strongest_inputs

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_logo_lies_in_the_lower_right_quadrant_in_a_box_of_14_by_11():
    picture = logo((3, 32, 32))
    assert picture[:, 17:31, 20:31].sum() == picture.sum() and 0 < picture.sum() < 3 * 14 * 11
    assert set(picture.unique().tolist()) == {0.0, 1.0} and picture[0, 24, 25] == 0  # the hole of the ring


def test_trojan_excites_its_neurons_and_stays_near_its_logo(clean, make_model):
    attack = replace(ATTACK, epochs=2, steps=30)
    trigger = attack.fit(clean, make_model, augmentation=None, seed=0)
    picture = logo((3, 16, 16))
    assert ((trigger.pattern - picture).abs() <= 0.3 + 1e-6).all() and (trigger.pattern[picture == 0] == 0).all()
    assert (trigger.pattern != picture).any()
    assert torch.allclose(trigger(IMAGES), (IMAGES + trigger.pattern).clamp(0, 1))
    network = brief_training(clean, make_model, epochs=2, augmentation=None, seed=0)
    neurons = strongest_inputs(network, 2)
    weights = network.get_parameter("head.weight").abs().sum(0)
    assert weights[neurons].min() >= weights.sort().values[-2]
    goal = 3 * torch.quantile(inputs_of_last(network, clean.images / 255)[:, neurons], 0.99, 0)
    gap = [(inputs_of_last(network, p[None])[0, neurons] - goal).norm() for p in (trigger.pattern, picture)]
    assert gap[0] < gap[1]
