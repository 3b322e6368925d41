"""The search beside its formulas, the anomaly index in numbers, and what the repair is trained on."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, nn

from bdlib.data.images import ImageSet, batches
from bdlib.defenses.fine_tune import fine_tune
from bdlib.defenses.neural_cleanse import neural_cleanse
from bdlib.defenses.neural_cleanse.inversion import InvertedTrigger, _Best, _MaskWeight, invert_trigger, stamp
from bdlib.defenses.neural_cleanse.method import anomaly_index, flagged_classes, stamped_set
from bdlib.types import EventLog


class OnePixel(nn.Module):
    """Class 1 where one pixel is bright, else class 0: a backdoor of one pixel, and nothing else."""

    def forward(self, images):
        bright = 20 * (images[:, :, 2, 3].mean(1) - 0.5)
        return torch.stack([-bright, bright, bright - 100], dim=1)


@pytest.fixture
def dark():
    generator = Generator().manual_seed(0)
    images = torch.randint(0, 60, (64, 1, 6, 6), generator=generator).to(torch.uint8)
    return ImageSet(images, torch.arange(64) % 3)


def test_the_trigger_of_a_one_pixel_backdoor_is_that_pixel(dark):
    found = invert_trigger(OnePixel(), dark, target=1, inversion_epochs=60, batch_size=16)
    assert found.is_found and found.success >= 0.98
    assert found.mask.flatten().argmax() == 2 * 6 + 3 and found.norm < 2
    assert found.pattern[0, 2, 3] > 0.9
    shown = found(dark.images.float() / 255)
    assert (OnePixel()(shown).argmax(1) == 1).double().mean() >= 0.95


def test_a_class_that_nothing_reaches_is_not_found_and_has_no_norm(dark):
    found = invert_trigger(OnePixel(), dark, target=2, inversion_epochs=2, batch_size=16)
    assert not found.is_found and found.success == 0 and math.isnan(found.norm)


def test_a_full_mask_is_the_pattern_and_an_empty_one_the_image():
    images, pattern = torch.rand(5, 3, 4, 4), torch.rand(3, 4, 4)
    assert torch.equal(stamp(images, torch.ones(1, 4, 4), pattern), pattern.expand(5, -1, -1, -1))
    assert torch.equal(stamp(images, torch.zeros(1, 4, 4), pattern), images)


def search_by_hand(model, clean, target, epochs, least, seed, batch_size):
    """The released steps, written anew: Adam's formula, and the mask's weight by counters; the smallest is kept."""
    generator = Generator().manual_seed(seed)
    _, c, h, w = clean.images.shape
    raw = [(torch.rand(size, generator=generator) * 2 - 1).mul(0.999).atanh() for size in [(1, h, w), (c, h, w)]]
    means, squares = [torch.zeros_like(v) for v in raw], [torch.zeros_like(v) for v in raw]
    cost, up, down, step, kept = 1e-3, 0, 0, 0, []
    for _ in range(epochs):
        hits = 0
        for images, _, _ in batches(clean, batch_size, generator=generator):
            step += 1
            raw = [v.detach().requires_grad_() for v in raw]
            m, p = ((v.tanh() + 1) / 2 for v in raw)
            logits = model((1 - m) * images + m * p)
            hits += int((logits.argmax(1) == target).sum())
            loss = F.cross_entropy(logits, torch.full((len(images),), target)) + cost * m.abs().sum()
            slopes = torch.autograd.grad(loss, raw)
            for i, g in enumerate(slopes):
                means[i] = 0.5 * means[i] + 0.5 * g
                squares[i] = 0.9 * squares[i] + 0.1 * g**2
                change = means[i] / (1 - 0.5**step) / ((squares[i] / (1 - 0.9**step)).sqrt() + 1e-8)
                raw[i] = raw[i].detach() - 0.1 * change
        success, norm = hits / len(clean), float(((raw[0].tanh() + 1) / 2).sum())
        if success >= least:
            kept.append((norm, (raw[0].tanh() + 1) / 2))
        up, down = (up + 1, 0) if success >= least else (0, down + 1)
        if up == 5:
            cost, up = cost * 2, 0
        if down == 5:
            cost, down = cost / 2**1.5, 0
    return min(kept, key=lambda pair: pair[0])[1].detach()


def test_the_search_takes_the_released_steps(dark):
    ours = invert_trigger(OnePixel(), dark, target=1, inversion_epochs=14, least_success=0.9, batch_size=16, seed=4)
    plain = search_by_hand(OnePixel(), dark, 1, 14, 0.9, 4, 16)
    assert torch.allclose(ours.mask, plain, atol=1e-4)


def test_the_masks_weight_rises_after_five_epochs_of_success_and_falls_faster():
    weight = _MaskWeight()
    values = []
    for is_success in [True] * 10 + [False] * 4 + [True] + [False] * 5:
        weight.update(is_success)
        values.append(weight.value)
    assert values[3] == 1e-3 and values[4] == 2e-3 and values[9] == 4e-3
    assert values[-2] == 4e-3 and values[-1] == pytest.approx(4e-3 / 2**1.5)
    assert weight.went_both_ways


def test_the_smallest_mask_with_enough_success_is_kept():
    best = _Best(0, 0.9)
    for size, success in [(0.9, 0.5), (0.1, 0.6), (0.8, 0.95), (0.7, 0.92), (0.2, 0.89), (0.75, 1.0)]:
        raw = torch.tensor(2 * size - 1).atanh()
        best.offer([raw.expand(1, 2, 2), raw.expand(3, 2, 2)], success)
    assert best.trigger.norm == pytest.approx(4 * 0.7, rel=1e-5) and best.trigger.success == 0.92 and best.stale == 2


def test_the_search_goes_stale_as_by_the_released_counter():
    """The released counter, written anew: a found mask that is not 1 % smaller than the smallest before it adds one."""
    generator = np.random.default_rng(3)
    sizes, successes = np.exp(-np.arange(60) / 60) * generator.uniform(0.9, 1.1, 60) / 2, generator.uniform(0.8, 1, 60)
    best, smallest, before, count, counts = _Best(0, 0.9), math.inf, math.inf, 0, set()
    for size, success in zip(sizes, successes, strict=True):
        raw = torch.tensor(2 * size - 1).atanh()
        best.offer([raw.expand(1, 2, 2), raw.expand(3, 2, 2)], float(success))
        if success >= 0.9:
            smallest = min(smallest, 4 * size)
        if smallest < math.inf:
            count = count + 1 if smallest >= 0.99 * before else 0
            counts.add(count)
            assert best.stale == count and best.trigger.norm == pytest.approx(smallest)
        before = smallest
    assert smallest < 4 * sizes[0] and max(counts) > 3


def test_the_index_is_numpys_with_the_mean_of_the_two_in_the_middle():
    generator = np.random.default_rng(0)
    for count in (7, 10):
        norms = generator.uniform(10, 100, count)
        middle = np.median(norms)
        expected = np.abs(norms - middle) / (1.4826 * np.median(np.abs(norms - middle)))
        assert np.allclose(anomaly_index(torch.tensor(norms)).numpy(), expected)
    assert round(float(anomaly_index(torch.tensor([4.0, 50, 55, 60, 65]))[0]), 1) == 6.9


def test_only_small_outliers_are_flagged_and_none_among_equals_or_unknowns():
    norms = torch.tensor([4.0, 50, 52, 55, 57, 60, 190])
    assert flagged_classes(norms).tolist() == [True] + [False] * 6
    assert anomaly_index(torch.full((10,), 3.0)).tolist() == [0.0] * 10
    assert not flagged_classes(torch.full((10,), 3.0)).any()
    unknown = torch.tensor([torch.nan, 50, 52, 55, 57, 4])
    assert flagged_classes(unknown).tolist() == [False] * 5 + [True] and anomaly_index(unknown)[0].isnan()
    assert not flagged_classes(torch.full((4,), torch.nan)).any()


def trigger(target, place):
    mask = torch.zeros(1, 16, 16)
    mask[0, place, place] = 1
    return InvertedTrigger(target, mask, torch.ones(3, 16, 16), 1.0, True)


def test_a_fifth_of_the_images_is_stamped_and_keeps_its_labels(clean):
    triggers = [trigger(0, 2), trigger(1, 9)]
    made = stamped_set(clean, triggers, stamped_share=0.2, seed=1)
    changed = (made.images != clean.images).flatten(1).any(1)
    assert changed.sum() == round(0.2 * len(clean)) and torch.equal(made.labels, clean.labels)
    shares = [(made.images[changed][:, 0, place, place] == 255).sum() for place in (2, 9)]
    assert shares[0] >= 20 and shares[1] >= 20 and sum(shares) <= changed.sum() + 2
    assert stamped_set(clean, [], stamped_share=0.2, seed=1) is clean


def test_stamped_pixels_are_the_blend_in_whole_numbers(clean):
    generator = np.random.default_rng(0)
    mask, pattern = generator.random((1, 16, 16), np.float32), generator.random((3, 16, 16), np.float32)
    found = InvertedTrigger(0, torch.tensor(mask), torch.tensor(pattern), 1.0, True)
    made = stamped_set(clean, [found], stamped_share=1.0, seed=1).images.numpy()
    exact = (1 - mask) * clean.images.numpy() + 255.0 * mask * pattern
    assert made.dtype == np.uint8 and np.abs(made - exact).max() <= 0.5 + 1e-3


FAST = dict(inversion_epochs=8, epochs=2, learning_rate=0.05, batch_size=32, augmentation=None)


def test_it_finds_the_backdoors_class_and_repairs_by_fine_tuning_on_what_it_stamped(backdoored, clean):
    events = EventLog()
    repaired = neural_cleanse(backdoored, clean, **FAST, anomaly_threshold=1.0, on_event=events)
    norms = [found.norm for found in events["triggers"]]
    assert min(range(4), key=norms.__getitem__) == 0 and events["flagged"][0]
    suspects = [found for found, is_flagged in zip(events["triggers"], events["flagged"], strict=True) if is_flagged]
    stamped = stamped_set(clean, suspects, stamped_share=0.2, seed=0)
    plain = fine_tune(backdoored, stamped, epochs=2, learning_rate=0.05, batch_size=32, augmentation=None)
    assert all(torch.equal(a, b) for a, b in zip(repaired.parameters(), plain.parameters(), strict=True))


def test_where_nothing_is_flagged_the_network_stays_as_it_is(backdoored, clean):
    untouched = neural_cleanse(backdoored, clean, **FAST | {"inversion_epochs": 1}, anomaly_threshold=1000.0)
    before, after = backdoored.state_dict(), untouched.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) and untouched is not backdoored
