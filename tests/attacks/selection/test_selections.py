"""Which images are poisoned: equal budgets, never the target class, and random as `poison` draws."""

import pytest
import torch

from bdlib.attacks import SELECTIONS
from bdlib.attacks.poisoning import poison, poison_at
from bdlib.attacks.selection.random import balanced_selection, random_selection
from bdlib.checks import ParameterError
from bdlib.evaluation.apply_trigger import AllToOne

FAST = {"fus": {"iterations": 1, "iteration_epochs": 2}} | {key: {"rounds": 2} for key in SELECTIONS if "lps" in key}


def test_random_selection_is_the_choice_that_poison_makes(clean, trigger, make_model):
    attack = {"target_label": 0, "poison_rate": 0.1, "seed": 3}
    ids = random_selection(clean, trigger, make_model=make_model, **attack)
    ours, known = poison_at(clean, trigger, AllToOne(0), ids), poison(clean, trigger, **attack)
    assert torch.equal(ours.is_poisoned, known.is_poisoned) and torch.equal(ours.data.labels, known.data.labels)
    assert torch.equal(ours.data.images, known.data.images)


def test_the_balanced_choice_has_the_class_shares_of_lps_and_is_random_within_classes(clean, trigger, make_model):
    attack = {"target_label": 0, "poison_rate": 0.1, "make_model": make_model}
    drawn = [balanced_selection(clean, trigger, seed=seed, **attack) for seed in (3, 4)]
    ranked = SELECTIONS["lps"](clean, trigger, seed=3, rounds=1, **attack)
    shares = [clean.labels[ids].bincount(minlength=4).tolist() for ids in (drawn[0], ranked)]
    assert shares[0] == shares[1] and not torch.equal(*drawn) and not torch.equal(drawn[0], ranked)


@pytest.mark.parametrize("key", SELECTIONS)
def test_a_selection_spends_its_budget_outside_the_target_class(key, clean, trigger, make_model):
    select = {"target_label": 0, "poison_rate": 0.05, "make_model": make_model, "seed": 1} | FAST.get(key, {})
    ids = SELECTIONS[key](clean, trigger, **select)
    assert len(ids) == 10 == len(set(ids.tolist())) and torch.equal(ids, ids.sort().values)
    assert (clean.labels[ids] != 0).all()
    assert torch.equal(ids, SELECTIONS[key](clean, trigger, **select))


@pytest.mark.parametrize("key", SELECTIONS)
def test_an_impossible_budget_is_refused_in_one_line(key, clean, trigger, make_model):
    with pytest.raises(ValueError, match=r"poison_rate=0.9: needs 180 of \d+ images"):
        SELECTIONS[key](clean, trigger, target_label=0, poison_rate=0.9, make_model=make_model, seed=1)


@pytest.mark.parametrize("key", SELECTIONS)
def test_a_keyword_out_of_its_range_is_refused_in_one_line(key, clean, trigger, make_model):
    with pytest.raises(ParameterError, match=r"^poison_rate=1.5: must be a number from 0 to 1$"):
        SELECTIONS[key](clean, trigger, target_label=0, poison_rate=1.5, make_model=make_model, seed=1)
