"""Probes for a backdoor that is asleep: what must hold of them whatever they find."""

from copy import deepcopy

import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, attacked_set
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.reactivation import random_perturbation, success, universal_perturbation, waking_loss
from bdlib.evaluation.retuning import path_success, retuned
from bdlib.evaluation.similarity import backdoor_existence, inner_convolutions, linear_cka, same_layer
from bdlib.models import accuracy
from bdlib.training.loop import Schedule, train


@pytest.fixture(scope="module")
def attacked(test_set, trigger):
    return attacked_set(test_set, trigger, AllToOne(0))


@pytest.fixture(scope="module")
def twin(make_model, clean):
    return train(make_model(), clean, Schedule(6, 0.05, batch_size=50, augmentation=None))


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_cka_is_one_for_itself_and_blind_to_turning_scaling_and_order():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(30, 6, generator=generator), torch.randn(30, 4, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    assert linear_cka(one, one) == pytest.approx(1) and 0 <= linear_cka(one, other) <= 1
    assert linear_cka(3 * one @ turn, other) == pytest.approx(linear_cka(one, other), rel=1e-4)
    assert linear_cka(other, one) == pytest.approx(linear_cka(one, other))
    with pytest.raises(ParameterError, match="30 images"):
        linear_cka(one, other[:7])


def test_the_coefficient_is_one_for_the_victim_and_zero_for_the_twin(backdoored, twin, test_set, trigger):
    others = test_set[test_set.labels != 0][:60]
    assert backdoor_existence(backdoored, backdoored, twin, others, trigger) == pytest.approx(1)
    assert backdoor_existence(backdoored, twin, twin, others, trigger) == 0
    wrapped = torch.nn.Sequential(torch.nn.Identity(), backdoored)
    assert backdoor_existence(backdoored, wrapped, twin, others, trigger) == pytest.approx(1)
    layers = inner_convolutions(backdoored)
    assert "stem" not in layers and same_layer(wrapped, layers[0]) == f"1.{layers[0]}"


def test_no_size_changes_nothing_and_no_pixel_moves_further(backdoored, attacked):
    before, stamped = state(backdoored), attacked.triggered
    none = universal_perturbation(backdoored, stamped, target_label=0, epsilon=0.0)
    assert none.shape == (1, 3, 16, 16) and none.eq(0).all()
    plain = success(backdoored, stamped, target_label=0)
    assert success(backdoored, stamped, none, target_label=0) == plain
    for rule in ("sign", "gradient"):
        change = universal_perturbation(backdoored, stamped, target_label=0, epsilon=0.05, steps=6, rule=rule)
        assert change.abs().max() <= 0.05 and change.shape[0] == 1 and not change.requires_grad
        assert success(backdoored, stamped, change, target_label=0) >= plain - 0.02
    assert random_perturbation(change, 0.05).abs().unique().tolist() == pytest.approx([0.05])
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
    with pytest.raises(ParameterError, match="epsilon"):
        universal_perturbation(backdoored, stamped, target_label=0, epsilon=-0.1)


def test_a_perturbation_lowers_its_loss(twin, attacked):
    images = attacked.triggered.images.float() / 255
    change = universal_perturbation(twin, attacked.triggered, target_label=0, epsilon=0.2, steps=10)
    with torch.no_grad():
        before, after = (waking_loss(twin((images + d).clamp(0, 1)), 0).item() for d in (0, change))
    assert after < before


def test_retuning_without_poison_is_plain_fine_tuning(twin, clean, trigger):
    before, schedule = state(twin), Schedule(2, 0.01, anneal="constant", batch_size=128, weight_decay=0.0,
                                             augmentation=None)  # fmt: skip
    tuned = retuned(twin, clean, trigger, target_label=0, poisons=0, epochs=2)
    plain = train(deepcopy(twin), clean, schedule)
    assert all(torch.equal(value, tuned.state_dict()[name]) for name, value in plain.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in twin.state_dict().items())
    with pytest.raises(ParameterError, match="poisons=500"):
        retuned(twin, clean, trigger, target_label=0, poisons=500)


def test_many_poisons_plant_the_backdoor_and_leave_the_set_alone(twin, clean, test_set, trigger):
    copy = ImageSet(clean.images.clone(), clean.labels.clone())
    tuned = retuned(twin, clean, trigger, target_label=0, poisons=60, epochs=12, learning_rate=0.05, batch_size=32)
    asr = evaluate(tuned, test_set, trigger, target_label=0).asr
    assert asr > evaluate(twin, test_set, trigger, target_label=0).asr + 0.2
    assert torch.equal(copy.images, clean.images) and torch.equal(copy.labels, clean.labels)


def test_the_ends_of_the_way_have_the_networks_own_asr(backdoored, twin, test_set, trigger):
    ends = path_success(twin, backdoored, test_set, trigger, [0.0, 1.0], target_label=0)
    own = [evaluate(model, test_set, trigger, target_label=0).asr for model in (twin, backdoored)]
    assert ends == pytest.approx(own, abs=0.005) and accuracy(twin, test_set) > 0.8
