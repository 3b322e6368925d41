"""The worst perturbation, the masks, and pruning, beside a plain BatchNorm written out."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bdlib.defenses.anp import NeuronPerturbation, adversarial_perturbation, anp, perturbed_logits, robust_masks
from bdlib.evaluation.trigger_analysis import joined
from bdlib.models import predict
from bdlib.training.filter_masks import THRESHOLDS, Masked, batch_norms, choose_threshold, prune
from bdlib.training.loop import Schedule
from bdlib.types import Batch, EventLog

FAST = dict(mask_epochs=3, mask_learning_rate=0.2, batch_size=50, augmentation=None)
SCHEDULE = Schedule(3, 0.2, "constant", batch_size=50, weight_decay=0.0, augmentation=None)
LOSS = dict(perturbation=0.4, trade_off=0.2)


@pytest.fixture
def masked(backdoored):
    made = Masked(deepcopy(backdoored))
    generator = torch.Generator().manual_seed(7)
    for mask in made.masks:
        mask.data.copy_(torch.rand(len(mask), generator=generator))
    return made


@pytest.fixture
def batch(clean):
    return Batch(clean.images[:64].float() / 255, clean.labels[:64], torch.arange(64))


def random_perturbation(masked, size, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = [(2 * torch.rand(len(m), generator=generator) - 1) * size for m in [*masked.masks, *masked.masks]]
    return NeuronPerturbation(draw[: len(masked.masks)], draw[len(masked.masks) :])


def plainly(masked, images, change):
    """The perturbed network, its BatchNorm weights and biases written into a copy of it."""
    copy = deepcopy(masked.model)
    layers = batch_norms(copy)
    for number, name in enumerate(masked.names):
        layers[name].weight.data.mul_(masked.masks[number].data + change.weights[number])
        layers[name].bias.data.mul_(1 + change.biases[number])
    return copy.train(masked.training)(images)


@pytest.mark.parametrize("training", [True, False])
def test_the_perturbed_network_is_the_one_with_its_batch_norms_rewritten(masked, batch, training):
    masked.train(training)
    change = random_perturbation(masked, 0.4, seed=1)
    expected = plainly(masked, batch.images, change)
    assert torch.allclose(perturbed_logits(masked, batch.images, change), expected, atol=1e-5)


def test_no_perturbation_is_the_masked_network_and_no_mask_the_model_itself(masked, backdoored, batch):
    still = random_perturbation(masked, 0.0, seed=1)
    assert torch.equal(perturbed_logits(masked.eval(), batch.images, still), masked(batch.images))
    whole = Masked(deepcopy(backdoored)).eval()
    assert torch.allclose(perturbed_logits(whole, batch.images, still), backdoored(batch.images), atol=1e-6)


def by_hand(masked, batch, perturbation, seed):
    """The released code's one step: a uniform start, then `perturbation` along the sign of the gradient by autograd."""
    generator = torch.Generator().manual_seed(seed)
    start = [2 * perturbation * torch.rand(len(m), generator=generator) - perturbation for m in [*masked.masks] * 2]
    for noise in start:
        noise.requires_grad_()
    copy, half = deepcopy(masked.model).train(), len(masked.masks)
    weights = {}
    for number, name in enumerate(masked.names):
        layer = batch_norms(copy)[name]
        weights[f"{name}.weight"] = layer.weight * (masked.masks[number].data + start[number])
        weights[f"{name}.bias"] = layer.bias * (1 + start[half + number])
    F.cross_entropy(torch.func.functional_call(copy, weights, (batch.images,)), batch.labels).backward()
    return [(noise + perturbation * noise.grad.sign()).detach() for noise in start]


def test_the_worst_perturbation_is_one_signed_step_and_is_kept_within_bounds_in_the_paper_alone(masked, batch):
    masked.train()
    made = {v: adversarial_perturbation(masked, batch, perturbation=0.4, variant=v,
                                        generator=torch.Generator().manual_seed(3))
            for v in ("paper", "released")}  # fmt: skip
    steps = by_hand(masked, batch, 0.4, 3)
    flat = {v: torch.cat([*change.weights, *change.biases]) for v, change in made.items()}
    expected = torch.cat(steps)
    # A weight whose gradient is zero but for rounding may take either sign
    assert ((flat["released"] - expected).abs() < 1e-5).double().mean() > 0.99
    assert torch.equal(flat["paper"], flat["released"].clamp(-0.4, 0.4))
    assert flat["paper"].abs().max() <= 0.4 < flat["released"].abs().max() <= 0.8


def test_the_worst_perturbation_hurts_more_than_a_random_one(masked, batch, backdoored):
    whole = Masked(deepcopy(backdoored)).train()
    worst = adversarial_perturbation(
        whole, batch, perturbation=0.4, variant="paper", generator=torch.Generator().manual_seed(0)
    )
    losses = [F.cross_entropy(perturbed_logits(whole, batch.images, change), batch.labels).item()
              for change in (worst, *(random_perturbation(whole, 0.4, seed) for seed in range(5)))]  # fmt: skip
    assert losses[0] > max(losses[1:])


def test_without_perturbation_the_masks_are_those_of_plain_descent(backdoored, clean):
    """No perturbation, one batch a step: the masks against a loop with the factors written in by hand."""
    schedule = replace(SCHEDULE, epochs=4, learning_rate=0.5, batch_size=len(clean))
    found = joined(robust_masks(backdoored, clean, schedule, perturbation=0.0, trade_off=0.2))
    model = deepcopy(backdoored).train()
    layers = batch_norms(model)
    masks = [torch.ones(len(layer.weight), requires_grad=True) for layer in layers.values()]
    speed = [torch.zeros_like(mask) for mask in masks]
    for _ in range(4):
        weights = {
            f"{n}.weight": layer.weight.detach() * m for (n, layer), m in zip(layers.items(), masks, strict=True)
        }
        logits = torch.func.functional_call(model, weights, (clean.images.float() / 255,))
        slopes = torch.autograd.grad(F.cross_entropy(logits, clean.labels), masks)
        for mask, v, slope in zip(masks, speed, slopes, strict=True):
            v.mul_(0.9).add_(slope)
            mask.data.sub_(0.5 * v).clamp_(0, 1)
    assert torch.allclose(found, torch.cat(masks), atol=1e-4) and (found < 1).any()


def test_masks_are_shares_and_the_model_is_left_alone(backdoored, clean):
    before = deepcopy(backdoored.state_dict())
    found = robust_masks(backdoored, clean, SCHEDULE, **LOSS)
    values = joined(found)
    assert list(found) == list(batch_norms(backdoored)) and len(values) == 640
    assert values.min() >= 0 and values.max() <= 1 and (values < 1).any()
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
    assert all(p.requires_grad for p in backdoored.parameters())


def test_perturbation_lowers_masks_that_plain_training_leaves(backdoored, clean):
    still = joined(robust_masks(backdoored, clean, SCHEDULE, perturbation=0.0, trade_off=0.2))
    moved = joined(robust_masks(backdoored, clean, SCHEDULE, perturbation=0.4, trade_off=0.2))
    assert moved.mean() < still.mean()


def test_pruning_touches_the_masked_weights_alone_and_grows_with_the_threshold(backdoored, clean):
    masks = robust_masks(backdoored, clean, replace(SCHEDULE, seed=1), **LOSS)
    low, high = joined(masks).quantile(0.05).item(), joined(masks).quantile(0.3).item()
    one, other = (anp(backdoored, clean, mask_threshold=t, **FAST, seed=1) for t in (low, high))
    for name, old in backdoored.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer in masks and name.endswith(".weight"):
            assert torch.equal(one.state_dict()[name], old * (masks[layer] > low))
            assert torch.equal(other.state_dict()[name], old * (masks[layer] > high))
        else:
            assert torch.equal(one.state_dict()[name], old)
    assert 0 < (joined(masks) <= low).sum() < (joined(masks) <= high).sum()
    nothing = prune(backdoored, masks, -1)
    assert all(torch.equal(a, b) for a, b in zip(nothing.parameters(), backdoored.parameters(), strict=True))


def test_the_threshold_is_the_largest_that_costs_no_more_than_allowed(backdoored, clean):
    generator = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(len(x.weight), generator=generator) for n, x in batch_norms(backdoored).items()}
    right = {t: (predict(prune(backdoored, masks, t), clean) == clean.labels).double().mean() for t in THRESHOLDS}
    before = (predict(backdoored, clean) == clean.labels).double().mean()
    assert THRESHOLDS[0] == 0 and THRESHOLDS[4] == 0.2 and THRESHOLDS[-1] == 0.9
    chosen = {drop: choose_threshold(backdoored, masks, clean, allowed_drop=drop) for drop in (0.02, 0.3, 1.0)}
    for drop, threshold in chosen.items():
        assert threshold == max((t for t in THRESHOLDS if right[t] >= before - drop), default=-1)
    assert chosen[0.02] < chosen[1.0] == 0.9
    nothing = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    assert choose_threshold(backdoored, nothing, clean, allowed_drop=0.02) == -1
    events = EventLog()
    by_rule = anp(backdoored, clean, mask_threshold=None, allowed_drop=0.02, **FAST, on_event=events)
    masks = robust_masks(backdoored, clean, SCHEDULE, **LOSS)
    assert torch.equal(joined(events["masks"]), joined(masks)) and events.counts["mask_step"] == 3 * 4
    assert events["threshold"] == choose_threshold(backdoored, masks, clean, allowed_drop=0.02)
    fixed = prune(backdoored, masks, choose_threshold(backdoored, masks, clean, allowed_drop=0.02))
    assert all(torch.equal(a, b) for a, b in zip(by_rule.parameters(), fixed.parameters(), strict=True))


def test_the_released_perturbation_is_another(backdoored, clean):
    paper, released = (
        joined(robust_masks(backdoored, clean, SCHEDULE, variant=v, **LOSS)) for v in ("paper", "released")
    )
    assert not torch.equal(paper, released)


def test_masks_are_in_range_after_every_step(backdoored, clean):
    seen = []
    robust_masks(backdoored, clean, SCHEDULE, **LOSS, on_event=lambda _, masked: seen.append(joined(masked.values())))
    assert all(0 <= values.min() and values.max() <= 1 for values in seen)


def test_a_network_without_batch_norm_is_refused(clean):
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4))
    with pytest.raises(ValueError, match=r"^model: filters are masked in BatchNorm2d layers"):
        anp(plain, clean)
