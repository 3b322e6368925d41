"""Batches and frozen sets in which some images are triggered and some are cover samples."""

from dataclasses import replace

import pytest
import torch

from bdlib.attacks import ATTACKS
from bdlib.attacks.bpp import BPP
from bdlib.attacks.cover_samples import draw_counts, mix
from bdlib.attacks.wanet import WaNet
from bdlib.evaluation.apply_trigger import AllToAll, AllToOne

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
WANET = replace(ATTACKS["wanet"], trigger=WaNet(strength=3.0))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_mixed_batch_has_its_counts_and_true_labels_on_cover_samples():
    labels = torch.tensor([0, 1, 2, 3, 0, 2])
    mixed = mix(IMAGES, labels, BPP(4), AllToOne(0), counts=(2, 1), generator=drawn())
    assert mixed.is_triggered.nonzero().squeeze(1).tolist() == [1, 2] and mixed.is_cover.nonzero().item() == 3
    assert mixed.labels.tolist() == [0, 0, 0, 3, 0, 2]
    assert torch.equal(mixed.images[[1, 2]], BPP(4)(IMAGES[[1, 2]]))
    assert torch.equal(mixed.images[3:4], BPP(4).cover_sample(IMAGES[3:4], IMAGES[2:3], drawn()))
    assert torch.equal(mixed.images[[0, 4, 5]], IMAGES[[0, 4, 5]])
    everyone = mix(IMAGES, labels, BPP(4), AllToAll(4), counts=(6, 0), generator=drawn())
    assert everyone.labels.tolist() == [1, 2, 3, 0, 1, 3]


def test_a_rate_below_one_image_a_batch_holds_over_many():
    generator = drawn()
    counts = torch.tensor([draw_counts(64, 0.01, 2.0, generator) for _ in range(2000)]).double().mean(0)
    assert abs(counts[0] - 0.64) < 0.05 and abs(counts[1] - 1.28) < 0.08


@pytest.mark.parametrize("relabel", [AllToOne(0), AllToAll(4)])
@pytest.mark.parametrize("attack", [WANET, replace(ATTACKS["bpp"], trigger=BPP(3))], ids=["wanet", "bpp"])
def test_a_frozen_set_is_one_epoch_of_the_attack(clean, attack, relabel):
    trigger = attack.trigger
    made = attack.poison(clean, trigger, relabel, poison_rate=0.1, seed=0)
    hit = made.is_poisoned
    changed = (made.data.images != clean.images).flatten(1).any(1)
    assert hit.sum() == 20 and (relabel(clean.labels)[hit] != clean.labels[hit]).all()
    assert torch.equal(made.data.labels[hit], relabel(clean.labels)[hit])
    assert torch.equal(made.data.labels[~hit], clean.labels[~hit])
    assert changed.sum() == 20 + round(20 * attack.cover_ratio) and changed[hit].all()
    expected = trigger(clean.images[hit] / 255).mul(255).round().byte()
    assert torch.equal(made.data.images[hit], expected)
    alone = replace(attack, cover_ratio=0.0).poison(clean, trigger, relabel, poison_rate=0.1, seed=0)
    assert (alone.data.images != clean.images).flatten(1).any(1).sum() == 20
    assert torch.equal(alone.is_poisoned, hit)


def test_a_frozen_set_that_cannot_be_is_refused(clean):
    with pytest.raises(ValueError, match=r"poison_rate=0.5: needs 300 of \d+ images"):
        WANET.poison(clean, WaNet(), AllToOne(0), poison_rate=0.5, seed=0)
