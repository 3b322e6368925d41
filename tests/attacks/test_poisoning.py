"""Poisoning at random: which images, how many, and what is done to them."""

import pytest
import torch
from toy_task import toy

from bdlib.attacks.badnets import BadNets
from bdlib.attacks.none import NoTrigger
from bdlib.attacks.poisoning import candidates, poison, poison_at
from bdlib.attacks.sig import SIG
from bdlib.checks import ParameterError
from bdlib.evaluation.apply_trigger import AllToAll, AllToOne, apply_trigger, triggered_set


def test_dirty_label_counts_and_relabels(clean, trigger):
    before = clean.images.clone()
    result = poison(clean, trigger, target_label=0, poison_rate=0.1, seed=0)
    marked = result.is_poisoned
    assert marked.sum() == 20 and (result.data.labels[marked] == 0).all() and (clean.labels[marked] != 0).all()
    assert torch.equal(result.data.images[~marked], clean.images[~marked]) and torch.equal(clean.images, before)
    assert torch.equal(result.data.images[marked], apply_trigger(clean.images[marked], trigger))


def test_clean_label_keeps_labels_and_takes_a_share_of_the_target_class(clean):
    result = poison(clean, SIG(), target_label=1, poison_rate=0.5, seed=0, clean_label=True)
    assert torch.equal(result.data.labels, clean.labels) and (clean.labels[result.is_poisoned] == 1).all()
    assert result.is_poisoned.sum() == round(0.5 * (clean.labels == 1).sum().item())


def test_nothing_poisoned_is_the_data_itself(clean):
    result = poison(clean, NoTrigger(), target_label=0, poison_rate=0.0, seed=0)
    assert torch.equal(result.data.images, clean.images) and not result.is_poisoned.any()


def test_too_many_is_refused_by_name(clean, trigger):
    with pytest.raises(ValueError, match=r"poison_rate=1\.0: needs 200 of"):
        poison(clean, trigger, target_label=0, poison_rate=1.0, seed=0)


def test_the_target_class_does_not_count_in_asr(test_set):
    attacked = triggered_set(test_set, BadNets(), target_label=0)
    assert (attacked.labels != 0).all() and len(attacked) == (test_set.labels != 0).sum()


def test_seeds_choose_other_images():
    data = toy(100, 0)
    flags = [poison(data, BadNets(), target_label=0, poison_rate=0.2, seed=s).is_poisoned for s in (0, 0, 1)]
    assert torch.equal(flags[0], flags[1]) and not torch.equal(flags[0], flags[2])


def test_a_rate_that_is_no_share_is_refused_in_one_line(clean, trigger):
    with pytest.raises(ParameterError, match=r"^poison_rate=1.5: must be a number from 0 to 1$"):
        poison(clean, trigger, target_label=0, poison_rate=1.5, seed=0)


def test_candidates_are_what_the_attack_relabels_or_leaves():
    labels = torch.tensor([0, 1, 2, 1])
    assert candidates(labels, AllToOne(1)).tolist() == [0, 2]
    assert candidates(labels, AllToOne(1), clean_label=True).tolist() == [1, 3]
    assert candidates(labels, AllToAll(3)).tolist() == [0, 1, 2, 3]


def test_poison_at_changes_nothing_else(clean, trigger):
    ids = torch.tensor([7, 3])
    poisoned = poison_at(clean, trigger, AllToAll(4), ids)
    assert poisoned.is_poisoned.nonzero().squeeze(1).tolist() == [3, 7]
    assert torch.equal(poisoned.data.labels[ids], (clean.labels[ids] + 1) % 4)
    rest = ~poisoned.is_poisoned
    assert torch.equal(poisoned.data.images[rest], clean.images[rest])
    assert torch.equal(poisoned.data.labels[rest], clean.labels[rest])
    assert not poison_at(clean, trigger, AllToAll(4), ids[:0]).is_poisoned.any()
