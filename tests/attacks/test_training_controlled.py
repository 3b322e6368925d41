"""Attacks that control training: the warp, the rounding and the drawn trigger, their cover_samples, and frozen sets."""

import pytest
import torch
from conftest import toy

from bdlib.attacks import input_aware
from bdlib.attacks.training_controlled import augmented, draw_counts, frozen, mix, train_controlled
from bdlib.attacks.triggers import BPP, WaNet
from bdlib.evaluation.apply_trigger import triggered_set
from bdlib.evaluation.metrics import evaluate
from bdlib.models import seeded
from bdlib.training.loop import Schedule

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def to_zero(labels):
    return torch.zeros_like(labels)


def onwards(labels):
    return (labels + 1) % 4


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


# WaNet


def test_at_strength_zero_a_warp_is_the_identity():
    assert torch.allclose(WaNet(strength=0.0)(IMAGES), IMAGES, atol=1e-5)


@pytest.mark.parametrize("strength", [0.5, 2.0])
@pytest.mark.parametrize("size", [28, 64])
def test_a_warp_moves_pixels_by_about_half_its_strength_whatever_the_size(strength, size):
    still, moved = WaNet(strength=0.0).field(size, size), WaNet(strength=strength).field(size, size)
    pixels = (moved - still).abs()[:, 3:-3, 3:-3] * (size - 1) / 2  # away from the border, where it is cut
    assert 0.3 * strength < pixels.mean() < 0.7 * strength


def test_a_warp_reads_each_pixel_where_its_field_says():
    """Bilinear interpolation by hand, on the field's own coordinates."""
    warp, image = WaNet(strength=2.0, seed=4), IMAGES[:1]
    at = (warp.field(16, 16)[0] + 1) * 15 / 2
    x, y = at[..., 0].clamp(0, 15), at[..., 1].clamp(0, 15)
    left, top = x.threshold_rule().long().clamp(max=14), y.threshold_rule().long().clamp(max=14)
    right, down = x - left, y - top
    rows = [image[0, :, top + dy, left + dx] for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1))]
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    expected = sum(row * weight for row, weight in zip(rows, weights, strict=True))
    assert torch.allclose(warp(image)[0], expected, atol=1e-5)


def test_noise_mode_is_near_the_warp_and_never_the_same():
    warp = WaNet(strength=2.0)
    one, two = warp.cover_sample(IMAGES, IMAGES, drawn(0)), warp.cover_sample(IMAGES, IMAGES, drawn(1))
    assert not torch.equal(one, two) and torch.equal(one, warp.cover_sample(IMAGES, IMAGES, drawn(0)))
    constant = torch.full((1, 1, 16, 16), 0.5)
    assert (
        warp.cover_sample(constant, constant, drawn())[..., 3:-3, 3:-3] - 0.5
    ).abs().max() < 1e-5  # only moves pixels
    assert not torch.equal(WaNet(seed=1)(IMAGES), WaNet(seed=2)(IMAGES))


# BPP


@pytest.mark.parametrize("levels", [4, 8])
def test_bpp_leaves_so_many_levels_and_repeats_nothing(levels):
    rounded = BPP(levels)(IMAGES)
    assert len(rounded.unique()) == levels and torch.equal(BPP(levels)(rounded), rounded)
    assert (rounded - IMAGES).abs().max() <= 0.5 / (levels - 1) + 1e-6


def test_negative_samples_carry_the_residual_of_another_image():
    others, trigger = IMAGES.flip(0), BPP(4)
    gray = torch.full_like(IMAGES, 0.5)
    assert torch.allclose(trigger.cover_sample(gray, others, drawn()) - gray, trigger(others) - others, atol=1e-6)


# Steering


def test_a_mixed_batch_has_its_counts_and_true_labels_on_companions():
    labels = torch.tensor([0, 1, 2, 3, 0, 2])
    mixed = mix(IMAGES, labels, BPP(4), to_zero, counts=(2, 1), generator=drawn())
    assert mixed.triggered.nonzero().squeeze(1).tolist() == [1, 2] and mixed.cover_samples.nonzero().item() == 3
    assert mixed.labels.tolist() == [0, 0, 0, 3, 0, 2]
    assert torch.equal(mixed.images[[1, 2]], BPP(4)(IMAGES[[1, 2]]))
    assert torch.equal(mixed.images[3:4], BPP(4).cover_sample(IMAGES[3:4], IMAGES[2:3], drawn()))
    assert torch.equal(mixed.images[[0, 4, 5]], IMAGES[[0, 4, 5]])
    everyone = mix(IMAGES, labels, BPP(4), onwards, counts=(6, 0), generator=drawn())
    assert everyone.labels.tolist() == [1, 2, 3, 0, 1, 3]


def test_a_rate_below_one_image_a_batch_holds_over_many():
    generator = drawn()
    counts = torch.tensor([draw_counts(64, 0.01, 2.0, generator) for _ in range(2000)]).double().mean(0)
    assert abs(counts[0] - 0.64) < 0.05 and abs(counts[1] - 1.28) < 0.08


def test_augmentation_follows_the_trigger():
    moved = augmented(IMAGES, 2, drawn())
    assert moved.shape == IMAGES.shape and not torch.equal(moved, IMAGES) and augmented(IMAGES, None, drawn()) is IMAGES


@pytest.mark.parametrize("relabel", [to_zero, onwards])
@pytest.mark.parametrize("trigger", [WaNet(strength=3.0), BPP(3)], ids=["wanet", "bpp"])
def test_a_frozen_set_is_one_epoch_of_the_attack(clean, trigger, relabel):
    made = frozen(clean, trigger, relabel, poison_rate=0.1, seed=0)
    hit = made.is_poisoned
    changed = (made.data.images != clean.images).flatten(1).any(1)
    assert hit.sum() == 20 and (relabel(clean.labels)[hit] != clean.labels[hit]).all()
    assert torch.equal(made.data.labels[hit], relabel(clean.labels)[hit])
    assert torch.equal(made.data.labels[~hit], clean.labels[~hit])
    assert changed.sum() == 20 + round(20 * trigger.cover_samples) and changed[hit].all()
    stamped = trigger(clean.images[hit] / 255).mul(255).round().byte()
    assert torch.equal(made.data.images[hit], stamped)
    alone = frozen(clean, trigger, relabel, poison_rate=0.1, cover_samples=False, seed=0)
    assert (alone.data.images != clean.images).flatten(1).any(1).sum() == 20
    assert torch.equal(alone.is_poisoned, hit)


def test_a_frozen_set_that_cannot_be_is_refused(clean):
    with pytest.raises(ValueError, match=r"poison_rate=0.5: needs 300 of \d+ images"):
        frozen(clean, WaNet(), to_zero, poison_rate=0.5, seed=0)


def test_steering_plants_a_backdoor_and_its_companions_keep_it_exact(test_set, make_model):
    trigger, schedule = BPP(levels=3), Schedule(6, 0.05, batch_size=64, augmentation=None)
    model = train_controlled(make_model(), toy(1000, 0), schedule, trigger, to_zero, poison_rate=0.15)
    scores = evaluate(model, test_set, trigger, target_label=0)
    assert scores.clean_accuracy > 0.9 and scores.asr > 0.9 and scores.asr + scores.robust_accuracy <= 1
    near = trigger.cover_sample(test_set.images / 255, test_set.images.roll(1, 0) / 255, drawn())
    assert (model(near).argmax(1) == test_set.labels).double().mean() > scores.clean_accuracy - 0.1
    assert len(triggered_set(test_set, trigger, target_label=0)) == (test_set.labels != 0).sum()


# Input-aware


def test_input_aware_by_its_formula_and_its_cross_mode_by_anothers():
    trigger = seeded(lambda: input_aware.InputAware(3), seed=0).requires_grad_(False)
    x, others = IMAGES, IMAGES.flip(0)
    m, g = 0.5 + 0.5 * torch.tanh(20 * trigger.mask_net(x).sigmoid() - 10), trigger.pattern_net(x).sigmoid()
    assert torch.allclose(trigger(x), x + (g - x) * m) and m.shape == (6, 1, 16, 16)
    crossed = trigger.cover_sample(x, others, drawn())
    assert torch.allclose(crossed, x + (g.flip(0) - x) * m.flip(0), atol=1e-6)
    assert trigger(x).min() >= 0 and trigger(x).max() <= 1


def test_diversity_is_the_mean_ratio_of_distances():
    made = torch.rand(6, 1, 16, 16, generator=drawn(1))
    ratios = [
        (IMAGES[i] - IMAGES[i - 1]).square().mean().sqrt() / ((made[i] - made[i - 1]).square().mean().sqrt() + 1e-7)
        for i in range(6)
    ]
    assert torch.allclose(input_aware.diversity(IMAGES, made), torch.stack(ratios).mean(), atol=1e-5)


def test_input_aware_is_trained_with_its_victim_and_differs_between_images(make_model, test_set):
    model, schedule = make_model(), Schedule(4, 0.05, batch_size=64, augmentation=None)
    trigger = input_aware.train_input_aware(model, toy(1000, 0), schedule, to_zero, poison_rate=0.15)
    assert not trigger.training and not model.training and not any(p.requires_grad for p in trigger.parameters())
    scores = evaluate(model, test_set, trigger, target_label=0)
    assert scores.clean_accuracy > 0.9 and scores.asr > 0.7
    x = test_set.images[:50] / 255
    residual = torch.nn.functional.normalize((trigger(x) - x).flatten(1), dim=1)
    assert (residual @ residual.T).fill_diagonal_(0).sum() / (50 * 49) < 0.9


def test_the_mask_becomes_sparse_and_the_images_own(clean):
    trigger = seeded(lambda: input_aware.InputAware(3), seed=0)
    before = trigger.mask(clean.images / 255)
    pattern = [p.clone() for p in trigger.pattern_net.parameters()]
    input_aware.train_mask(trigger, clean, epochs=10, batch_size=20, seed=0)
    after = trigger.mask(clean.images / 255)
    assert after.mean() < 0.1 < before.mean() and after.std(0).mean() > 0.01
    assert all(torch.equal(p, q) for p, q in zip(pattern, trigger.pattern_net.parameters(), strict=True))
