"""Poisoning and scoring when every class moves one on."""

import torch

from bdlib.attacks.all_to_all import evaluate_all, next_class, poison_all
from bdlib.models import predict
from bdlib.training.loop import Schedule, train


def test_the_map_is_a_bijection_without_fixed_point():
    labels = torch.arange(10)
    assert sorted(next_class(labels, 10).tolist()) == list(range(10))
    assert (next_class(labels, 10) != labels).all()


def test_poison_stamps_the_stated_share_and_moves_its_labels(clean, trigger):
    one, two = (poison_all(clean, trigger, num_classes=4, poison_rate=0.1, seed=0) for _ in range(2))
    assert one.is_poisoned.sum() == 20 and torch.equal(one.is_poisoned, two.is_poisoned)
    moved = next_class(clean.labels, 4)
    assert torch.equal(one.data.labels[one.is_poisoned], moved[one.is_poisoned])
    assert torch.equal(one.data.labels[~one.is_poisoned], clean.labels[~one.is_poisoned])
    assert (one.data.images[one.is_poisoned][..., -3:, -3:] == 255).all()
    none = poison_all(clean, trigger, num_classes=4, poison_rate=0.0, seed=0)
    assert torch.equal(none.data.images, clean.images) and not none.is_poisoned.any()


def test_a_model_trained_on_it_moves_triggered_images_and_no_others(clean, test_set, trigger, make_model):
    data = poison_all(clean, trigger, num_classes=4, poison_rate=0.4, seed=0).data
    model = train(make_model(), data, Schedule(12, 0.05, batch_size=32, augmentation=None))
    scores = evaluate_all(model, test_set, trigger, num_classes=4)
    assert scores.asr > 0.8 and scores.clean_accuracy > 0.9 and scores.asr + scores.robust_accuracy <= 1
    assert scores.clean_accuracy == (predict(model, test_set) == test_set.labels).double().mean()
