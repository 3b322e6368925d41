"""What every attack of the suite promises, by its key, and the triggers that are crafted before any poisoning."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import avg_pool2d

from bdlib.attacks import ATTACKS, CRAFTED, MODULES, TRAINING_CONTROLLED, label_consistent, ssba, trojan
from bdlib.attacks.poisoning import poison
from bdlib.attacks.triggers import CLEAN_LABEL, GRAY, TRIGGERS, Corners
from bdlib.data.datasets import load_dataset
from bdlib.data.images import ImageSet
from bdlib.experiments import victims
from bdlib.experiments.parameters import ParameterError, validated
from bdlib.experiments.victims import VictimConfig, victim

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TINY = dict(data_fraction=0.03, victim_epochs=1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    return tmp_path


def test_the_register_knows_every_attack_once():
    assert len(ATTACKS) == len(set(ATTACKS)) == 11 and set(TRIGGERS) < set(ATTACKS)
    assert set(MODULES) == {*CRAFTED, *TRAINING_CONTROLLED} and set(GRAY) <= set(TRIGGERS)
    assert all(validated({"attack": name}) for name in ATTACKS)


# Label-consistent


def test_corners_are_four_boards_of_nine_and_mirror_to_themselves():
    gray = torch.full((1, 1, 16, 16), 0.5)
    stamped = Corners()(gray)
    assert (stamped != gray).sum() == 36 and set(stamped[..., :3, :3].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(stamped, stamped.flip(3)) and torch.equal(stamped, stamped.flip(2))
    assert torch.equal(Corners(amplitude=0.0)(IMAGES), IMAGES)


def test_perturbed_images_stay_in_the_ball_and_mislead(backdoored, clean):
    x, y = clean.images.float() / 255, clean.labels
    hard = label_consistent.perturbed(backdoored, x, y)
    assert (hard - x).abs().max() <= 16 / 255 + 1e-6 and hard.min() >= 0 and hard.max() <= 1
    loss = torch.nn.functional.cross_entropy
    assert loss(backdoored(hard), y) > 2 * loss(backdoored(x), y)
    assert torch.equal(hard, label_consistent.perturbed(backdoored, x, y))


def test_label_consistent_poison_leaves_labels_and_stamps_perturbed_target_images(backdoored, clean):
    share = dict(target_label=1, poison_rate=0.5, seed=0)
    made = label_consistent.poison_consistently(clean, Corners(), backdoored, **share)
    plain = poison(clean, Corners(), clean_label=True, **share)
    assert torch.equal(made.data.labels, clean.labels) and torch.equal(made.is_poisoned, plain.is_poisoned)
    assert (clean.labels[made.is_poisoned] == 1).all()
    assert torch.equal(made.data.images[~made.is_poisoned], clean.images[~made.is_poisoned])
    apart = made.data.images[made.is_poisoned].float() - plain.data.images[made.is_poisoned].float()
    assert 0 < apart[..., 3:-3, 3:-3].abs().max() <= 16


# TrojanNN


def test_the_logo_lies_in_the_lower_right_quadrant_of_its_box():
    picture, box = trojan.logo((3, 32, 32))
    assert box.sum() == 3 * 14 * 11 and (picture[box == 0] == 0).all() and 0 < picture.sum() < box.sum()
    assert box[:, :16, :].sum() == 0 and box[:, :, :16].sum() == 0


def test_trojan_excites_its_neurons_and_stays_near_its_logo(clean, make_model):
    trigger = trojan.craft(clean, make_model=make_model, epochs=2, augmentation=None, steps=30, seed=0)
    picture, box = trojan.logo((3, 16, 16))
    assert ((trigger.pattern - picture).abs() <= 0.3 + 1e-6).all() and (trigger.pattern[box == 0] == 0).all()
    assert torch.allclose(trigger(IMAGES), (IMAGES + trigger.pattern).clamp(0, 1))
    network = trojan.brief_training(clean, make_model, epochs=2, augmentation=None, seed=0)
    chosen = trojan.strongest_inputs(network, 2)
    weights = trojan.last_linear(network).weight.abs().sum(0)
    assert weights[chosen].min() >= weights.sort().values[-2]
    goal = 3 * torch.quantile(trojan.inputs_of_last(network, clean.images / 255)[:, chosen], 0.99, 0)
    gap = [(trojan.inputs_of_last(network, p[None])[0, chosen] - goal).norm() for p in (trigger.pattern, picture)]
    assert gap[0] < gap[1]


# SSBA


def test_an_untrained_encoder_is_refused(clean, make_model):
    with pytest.raises(ssba.CraftError, match="reads .* of the bits, it must read more than 95 %"):
        ssba.craft(clean, make_model=make_model, steps=1, seed=0)


def test_the_light_encoder_hides_its_bits_sample_by_sample(make_model):
    """On real images of half the size: more than 95 % of bits are read, changes are small, and no two are alike."""
    images = avg_pool2d(F.pad(load_dataset("fashion")[0].images[:2000].float(), (2, 2, 2, 2)), 2).byte()
    data, given = ImageSet(images, torch.zeros(2000, dtype=torch.long)), dict(make_model=make_model, steps=320, seed=0)
    trigger, x = ssba.craft(data, **given), data.images[:100] / 255
    assert trigger.secret.numel() == 16 and 0 < (trigger(x) - x).abs().max() <= 12 / 255 + 1e-6
    residual = torch.nn.functional.normalize((trigger(x) - x).flatten(1), dim=1)
    assert (residual @ residual.T).fill_diagonal_(0).sum() / (100 * 99) < 0.9
    assert torch.equal(trigger(x), ssba.craft(data, **given)(x))


# Recipes


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in ("none", "ssba")])
def test_every_recipe_has_a_trigger_and_a_set_that_is_labelled_as_it_says(attack, cache):
    recipe = VictimConfig(attack=attack, poison_rate=0.5 if attack in CLEAN_LABEL else 0.1, **TINY)
    clean, test = recipe.data()
    made = recipe.poisoned()
    count = round(0.5 * (clean.labels == 0).sum().item()) if attack in CLEAN_LABEL else round(0.1 * len(clean))
    assert made.is_poisoned.sum() == count and (made.data.labels[made.is_poisoned] == 0).all()
    assert torch.equal(made.data.labels[~made.is_poisoned], clean.labels[~made.is_poisoned])
    assert torch.equal(recipe.poisoned().data.images, made.data.images)
    x = test.images[:20] / 255
    assert not torch.equal(recipe.trigger(x), x) and torch.equal(recipe.trigger(x), recipe.trigger(x))


@pytest.mark.parametrize("attack", ["badnets", "blended", "low_frequency", "trojan", "wanet", "bpp"])
def test_all_to_all_moves_every_poisoned_label_one_on(attack, cache):
    recipe = VictimConfig(attack=attack, label_map="all_to_all", **TINY)
    clean, made = recipe.data()[0], recipe.poisoned()
    assert torch.equal(made.data.labels[made.is_poisoned], (clean.labels[made.is_poisoned] + 1) % 10)
    assert made.is_poisoned.sum() == round(0.1 * len(clean))


@pytest.mark.parametrize("attack", sorted(CLEAN_LABEL))
def test_clean_label_attacks_cannot_move_labels(attack):
    with pytest.raises(ParameterError, match=f"attack {attack} changes no labels"):
        validated({"attack": attack, "label_map": "all_to_all"})


def test_only_who_steers_has_companions_to_leave_out():
    assert validated({"attack": "wanet", "cover_samples": False})
    with pytest.raises(ParameterError, match="cover_samples=False: must be True for badnets"):
        validated({"attack": "badnets", "cover_samples": False})


def test_asking_for_a_path_makes_nothing(cache):
    paths = {VictimConfig(attack=name, **TINY).path for name in ATTACKS}
    paths |= {VictimConfig(attack="wanet", cover_samples=False, **TINY).path}
    assert len(paths) == 12 and not list(cache.iterdir())


@pytest.mark.parametrize("attack", ["trojan", "label_consistent"])
def test_what_is_crafted_is_made_once_and_read_back_equal(attack, cache):
    recipe = VictimConfig(attack=attack, **TINY)
    made = victims.crafted(recipe)
    written = recipe.craft_path.stat().st_mtime_ns
    again = victims.crafted(dataclasses.replace(recipe, poison_rate=0.2, victim_epochs=9))
    assert recipe.craft_path.stat().st_mtime_ns == written and len(list(cache.rglob("*.safetensors"))) == 1
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), again.state_dict().values(), strict=True))
    assert not made.training and not any(p.requires_grad for p in made.parameters())
    other = victims.crafted(dataclasses.replace(recipe, seed=1))
    assert not torch.equal(*(torch.cat([v.float().flatten() for v in m.state_dict().values()]) for m in (made, other)))


def test_a_learnt_trigger_lies_in_its_victims_file(cache):
    recipe = VictimConfig(attack="input_aware", **TINY)
    first, trigger = victim(recipe), recipe.trigger
    written = recipe.path.stat().st_mtime_ns
    x = recipe.data()[1].images[:8] / 255
    assert torch.equal(trigger(x), recipe.trigger(x)) and recipe.path.stat().st_mtime_ns == written
    assert torch.equal(first(x), victim(recipe)(x)) and len(list(cache.rglob("*.safetensors"))) == 1


def test_the_attacker_starts_from_other_weights_than_the_victim():
    recipe = VictimConfig(attack="label_consistent", **TINY)
    own = dataclasses.replace(recipe, seed=recipe.seed + victims.ATTACKERS)
    heads = [made.untrained().get_submodule("head").weight for made in (recipe, own)]
    assert not torch.equal(*heads)
