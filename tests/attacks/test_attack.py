"""What every attack of the registry promises, by its key."""

import pytest
import torch

from bdlib.attacks import ATTACKS
from bdlib.attacks.attack import Attack
from bdlib.attacks.badnets import BadNets
from bdlib.attacks.poisoning import poison
from bdlib.attacks.sig import SIG
from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToAll, AllToOne
from bdlib.evaluation.metrics import evaluate_attack
from bdlib.experiments import victims
from bdlib.experiments.victims import VictimConfig, load_data, load_trigger, poisoned_set
from bdlib.models import predict
from bdlib.training.loop import Schedule, train

TINY = dict(data_fraction=0.03, victim_epochs=1)
CLEAN_LABEL = [name for name, attack in ATTACKS.items() if attack.clean_label]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    return tmp_path


def test_the_registry_holds_one_attack_for_each_key():
    assert len(ATTACKS) == 11 and all(isinstance(attack, Attack) for attack in ATTACKS.values())
    for name, attack in ATTACKS.items():
        assert attack.NUMBERS_VERSION >= 1 and VictimConfig(attack=name).attack_object == attack
        is_made = attack.fixed_trigger(channels=3) is None
        assert is_made == (name in ("label_consistent", "trojan", "ssba", "input_aware"))
        assert bool(attack.cover_ratio) == attack.training_controlled


def test_what_an_attack_does_not_have_is_said(clean, make_model):
    with pytest.raises(TypeError, match="Attack has a fixed trigger"):
        ATTACKS["badnets"].blank((3, 16, 16), make_model)
    with pytest.raises(TypeError, match="no fixed trigger, and no .fit. that makes one"):
        Attack(NUMBERS_VERSION=1).fit(clean, make_model, augmentation=None, seed=0)
    assert ATTACKS["badnets"].fit(clean, make_model, augmentation=None, seed=0) == BadNets()
    with pytest.raises(ParameterError, match="cover_ratio=-1.0: must be a number from 0"):
        Attack(NUMBERS_VERSION=1, cover_ratio=-1.0)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ("none", "ssba")])
def test_every_attack_has_a_trigger_and_a_set_that_is_labeled_as_it_says(name, cache):
    config = VictimConfig(attack=name, poison_rate=0.5 if name in CLEAN_LABEL else 0.1, **TINY)
    (clean, test), made, trigger = load_data(config), poisoned_set(config), load_trigger(config)
    count = round(0.5 * (clean.labels == 0).sum().item()) if name in CLEAN_LABEL else round(0.1 * len(clean))
    assert made.is_poisoned.sum() == count and (made.data.labels[made.is_poisoned] == 0).all()
    assert torch.equal(made.data.labels[~made.is_poisoned], clean.labels[~made.is_poisoned])
    assert torch.equal(poisoned_set(config).data.images, made.data.images)
    x = test.images[:20] / 255
    assert not torch.equal(trigger(x), x) and torch.equal(trigger(x), load_trigger(config)(x))


@pytest.mark.parametrize("name", ["badnets", "blended", "low_frequency", "trojan", "wanet", "bpp"])
def test_all_to_all_moves_every_poisoned_label_one_on(name, cache):
    config = VictimConfig(attack=name, label_map="all_to_all", **TINY)
    clean, made = load_data(config)[0], poisoned_set(config)
    assert torch.equal(made.data.labels[made.is_poisoned], (clean.labels[made.is_poisoned] + 1) % 10)
    assert made.is_poisoned.sum() == round(0.1 * len(clean))


def test_all_to_all_poisons_the_stated_share_of_all_images(clean, trigger):
    attack, relabel = ATTACKS["badnets"], AllToAll(4)
    one, two = (attack.poison(clean, trigger, relabel, poison_rate=0.1, seed=0) for _ in range(2))
    assert one.is_poisoned.sum() == 20 and torch.equal(one.is_poisoned, two.is_poisoned)
    assert torch.equal(one.data.labels[one.is_poisoned], relabel(clean.labels)[one.is_poisoned])
    assert torch.equal(one.data.labels[~one.is_poisoned], clean.labels[~one.is_poisoned])
    assert (one.data.images[one.is_poisoned][..., -3:, -3:] == 255).all()
    none = attack.poison(clean, trigger, relabel, poison_rate=0.0, seed=0)
    assert torch.equal(none.data.images, clean.images) and not none.is_poisoned.any()


def test_a_model_trained_on_all_to_all_moves_triggered_images_and_no_others(clean, test_set, trigger, make_model):
    data = ATTACKS["badnets"].poison(clean, trigger, AllToAll(4), poison_rate=0.4, seed=0).data
    model = train(make_model(), data, Schedule(12, 0.05, batch_size=32, augmentation=None))
    scores = evaluate_attack(model, test_set, trigger, AllToAll(4))
    assert scores.asr > 0.8 and scores.clean_accuracy > 0.9 and scores.asr + scores.robust_accuracy <= 1
    assert scores.clean_accuracy == (predict(model, test_set) == test_set.labels).double().mean()


def test_selected_images_are_poisoned_and_no_others(clean, trigger):
    ids = (clean.labels == 2).nonzero().squeeze(1)[:5]
    made = ATTACKS["badnets"].poison(clean, trigger, AllToOne(0), poison_rate=0.1, seed=0, ids=ids)
    assert torch.equal(made.is_poisoned.nonzero().squeeze(1), ids) and (made.data.labels[ids] == 0).all()


@pytest.mark.parametrize(("name", "shape", "words"), [
    ("trojan", (8, 8), "11 x 11 pixels or more, not 8 x 8"),
    ("ssba", (2, 2), "8 x 8 pixels or more, not 2 x 2"),
    ("ssba", (8, 12), "square images, not 8 x 12"),
    ("label_consistent", (2, 2), "3 x 3 pixels or more, not 2 x 2"),
    ("input_aware", (6, 8), "a multiple of 4 pixels, not 6 x 8"),
    ("badnets", (2, 2), "its trigger fits, not 2 x 2; size=3"),
    ("low_frequency", (1, 1), "its trigger fits, not 1 x 1"),
    ("sig", (12, 12), "its trigger changes; those of 12 x 12 pixels it does not"),
    ("wanet", (1, 1), "its trigger changes; those of 1 x 1 pixels it does not"),
])  # fmt: skip
def test_images_that_an_attack_cannot_take_are_refused_before_compute(name, shape, words, monkeypatch):
    monkeypatch.setattr(torch.optim.Optimizer, "step", None)
    data, attack = ImageSet(torch.zeros(8, 3, *shape, dtype=torch.uint8), torch.arange(8) % 4), ATTACKS[name]
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * shape[0] * shape[1], 4))
    with pytest.raises(ParameterError, match=f"must have .*{words}"):
        attack.fit(data, lambda: model, augmentation=None, seed=0)
    with pytest.raises(ParameterError, match=f"must have .*{words}"):
        attack.train_victim(model, data, attack.trigger, AllToOne(0), Schedule(1, 0.1), poison_rate=0.2)


def test_a_trigger_that_changes_no_image_is_refused(clean):
    with pytest.raises(ParameterError, match=r"\Atrigger=SIG.*: changes none of the \d+ images that it is put on\Z"):
        poison(clean, SIG(delta=0.0), target_label=0, poison_rate=0.1, seed=0)
