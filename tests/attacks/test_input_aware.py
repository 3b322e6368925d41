"""Input-aware: the trigger by its formula, its mask, and the victim that it is trained with."""

import torch
from toy_task import toy

from bdlib.attacks.input_aware import ATTACK, InputAware, diversity
from bdlib.evaluation.apply_trigger import AllToOne
from bdlib.evaluation.metrics import evaluate
from bdlib.models import seeded
from bdlib.training.loop import Schedule

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_input_aware_by_its_formula_and_its_cross_mode_by_anothers():
    trigger = seeded(lambda: InputAware(3), seed=0).requires_grad_(False)
    x, others = IMAGES, IMAGES.flip(0)
    m, g = 0.5 + 0.5 * torch.tanh(20 * trigger.mask_net(x).sigmoid() - 10), trigger.pattern_net(x).sigmoid()
    assert torch.allclose(trigger(x), x + (g - x) * m) and m.shape == (6, 1, 16, 16)
    cross = trigger.cover_sample(x, others, drawn())
    assert torch.allclose(cross, x + (g.flip(0) - x) * m.flip(0), atol=1e-6)
    assert trigger(x).min() >= 0 and trigger(x).max() <= 1


def test_diversity_is_the_mean_ratio_of_distances():
    made = torch.rand(6, 1, 16, 16, generator=drawn(1))
    ratios = [
        (IMAGES[i] - IMAGES[i - 1]).square().mean().sqrt() / ((made[i] - made[i - 1]).square().mean().sqrt() + 1e-7)
        for i in range(6)
    ]
    assert torch.allclose(diversity(IMAGES, made), torch.stack(ratios).mean(), atol=1e-5)


def test_input_aware_is_trained_with_its_victim_and_differs_between_images(make_model, test_set):
    model, schedule = make_model(), Schedule(4, 0.05, batch_size=64, augmentation=None)
    trigger = ATTACK.train_victim(model, toy(1000, 0), None, AllToOne(0), schedule, poison_rate=0.15)
    assert not trigger.training and not model.training and not any(p.requires_grad for p in trigger.parameters())
    scores = evaluate(model, test_set, trigger, target_label=0)
    assert scores.clean_accuracy > 0.9 and scores.asr > 0.7
    x = test_set.images[:50] / 255
    residual = torch.nn.functional.normalize((trigger(x) - x).flatten(1), dim=1)
    assert (residual @ residual.T).fill_diagonal_(0).sum() / (50 * 49) < 0.9


def test_the_mask_becomes_sparse_and_the_images_own(clean):
    trigger = seeded(lambda: InputAware(3), seed=0)
    before = trigger.mask(clean.images / 255)
    pattern = [p.clone() for p in trigger.pattern_net.parameters()]
    ATTACK.train_mask(trigger, clean, epochs=10, batch_size=20, seed=0)
    after = trigger.mask(clean.images / 255)
    assert after.mean() < 0.1 < before.mean() and after.std(0).mean() > 0.01
    assert all(torch.equal(p, q) for p, q in zip(pattern, trigger.pattern_net.parameters(), strict=True))
