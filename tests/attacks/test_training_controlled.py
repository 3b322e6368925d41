"""Training-controlled attacks: what their training leaves in the victim."""

from dataclasses import replace

import pytest
import torch
from toy_task import toy

from bdlib.attacks import ATTACKS
from bdlib.attacks.badnets import BadNets
from bdlib.attacks.bpp import BPP
from bdlib.evaluation.apply_trigger import AllToOne, triggered_set
from bdlib.evaluation.metrics import evaluate
from bdlib.training.loop import Schedule

BPP_ATTACK = ATTACKS["bpp"]


def test_training_plants_a_backdoor_and_its_cover_samples_keep_it_exact(test_set, make_model):
    trigger, schedule, model = BPP(levels=3), Schedule(6, 0.05, batch_size=64, augmentation=None), make_model()
    given = BPP_ATTACK.train_victim(model, toy(1000, 0), trigger, AllToOne(0), schedule, poison_rate=0.15)
    assert given is trigger and not model.training
    scores = evaluate(model, test_set, trigger, target_label=0)
    assert scores.clean_accuracy > 0.9 and scores.asr > 0.9 and scores.asr + scores.robust_accuracy <= 1
    cover = trigger.cover_sample(
        test_set.images / 255, test_set.images.roll(1, 0) / 255, torch.Generator().manual_seed(0)
    )
    assert (model(cover).argmax(1) == test_set.labels).double().mean() > scores.clean_accuracy - 0.1
    assert len(triggered_set(test_set, trigger, target_label=0)) == (test_set.labels != 0).sum()


def test_an_epoch_is_told_as_train_tells_it(clean, make_model):
    epochs, schedule = [], Schedule(2, 0.05, batch_size=50, augmentation=1)
    BPP_ATTACK.train_victim(make_model(), clean, BPP(), AllToOne(0), schedule, poison_rate=0.1,
                            on_event=lambda name, value: epochs.append((name, value.number)))  # fmt: skip
    assert epochs == [("epoch", 0), ("epoch", 1)]


def test_what_has_no_cover_samples_or_selected_images_is_refused(clean):
    share = dict(poison_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="must have cover samples"):
        BPP_ATTACK.poison(clean, BadNets(), AllToOne(0), **share)
    with pytest.raises(ValueError, match="ids: must be None"):
        BPP_ATTACK.poison(clean, BPP(), AllToOne(0), ids=torch.tensor([1]), **share)


def test_without_cover_samples_the_same_images_are_triggered(clean):
    share = dict(poison_rate=0.1, seed=0)
    with_them = BPP_ATTACK.poison(clean, BPP(), AllToOne(0), **share)
    without = replace(BPP_ATTACK, cover_ratio=0.0).poison(clean, BPP(), AllToOne(0), **share)
    assert torch.equal(with_them.is_poisoned, without.is_poisoned)
