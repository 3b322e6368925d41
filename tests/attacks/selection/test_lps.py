"""LPS: the inner step is exact, and the rounds are the loop that they claim to be."""

from itertools import combinations

import pytest
import torch

from bdlib import attacks
from bdlib.attacks.poisoning import poison_at
from bdlib.attacks.selection.fus import fus
from bdlib.attacks.selection.lps import lps
from bdlib.attacks.selection.random import random_selection
from bdlib.attacks.selection.ranking import (
    clean_losses,
    highest_in_every_class,
    highest_of_all,
    per_class_budget,
    poison_beside,
    poison_losses,
    surrogate_seed,
)
from bdlib.evaluation.apply_trigger import AllToOne, apply_trigger
from bdlib.mechanisms.lps import sawtooth
from bdlib.training.loop import Schedule, train

FAST = {"rounds": 2, "learning_rate": 0.05, "batch_size": 50}
ATTACK = {"target_label": 0, "poison_rate": 0.06}


def classes(*sizes):
    return torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])


# The inner step
def test_the_budget_is_shared_by_largest_remainder():
    assert per_class_budget(classes(5, 10, 20, 30), target_label=0, count=13).tolist() == [0, 2, 4, 7]  # 2.17 4.33 6.5
    assert per_class_budget(classes(5, 10, 20, 30), target_label=3, count=0).tolist() == [0, 0, 0, 0]
    assert per_class_budget(classes(5, 10, 20, 30), target_label=1, count=55).tolist() == [5, 0, 20, 30]


def test_equal_classes_differ_by_one_at_most_and_chance_says_which():
    drawn = [per_class_budget(classes(*[40] * 10), target_label=4, count=31, seed=seed) for seed in range(8)]
    for shares in drawn:
        others = shares[torch.arange(10) != 4]
        assert shares.sum() == 31 and shares[4] == 0 and others.max() - others.min() == 1
    assert len({tuple(shares.tolist()) for shares in drawn}) > 1


def test_the_inner_step_is_as_good_as_brute_force():
    labels, scores = classes(3, 4, 5), torch.randn(12, generator=torch.Generator().manual_seed(0))
    shares = per_class_budget(labels, target_label=0, count=4).tolist()
    feasible = [ids for ids in combinations(range(12), 4)
                if [sum(labels[i] == k for i in ids) for k in range(3)] == shares]  # fmt: skip
    best = max(feasible, key=lambda ids: scores[list(ids)].sum())
    ours = highest_in_every_class(scores, labels, target_label=0, count=4)
    assert len(feasible) > 20 and ours.tolist() == list(best)
    free = max(combinations(range(3, 12), 4), key=lambda ids: scores[list(ids)].sum())
    assert highest_of_all(scores, labels, target_label=0, count=4).tolist() == list(free)


def test_no_random_feasible_set_scores_more():
    generator = torch.Generator().manual_seed(1)
    labels, scores = classes(*[60] * 10), torch.rand(600, generator=generator)
    ours = highest_in_every_class(scores, labels, target_label=2, count=40, seed=5)
    shares = per_class_budget(labels, target_label=2, count=40, seed=5)
    assert torch.equal(labels[ours].bincount(minlength=10), shares)
    for _ in range(1000):
        other = torch.cat([60 * k + torch.randperm(60, generator=generator)[:most] for k, most in enumerate(shares)])
        assert scores[other].sum() < scores[ours].sum()


def test_ties_are_broken_by_the_seed_alone():
    labels, scores = classes(20, 20, 20), torch.zeros(60)
    one, same, other = (highest_in_every_class(scores, labels, target_label=0, count=8, seed=s) for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


# The loop
@pytest.mark.parametrize("function, nothing", [(lps, {"rounds": 0}), (fus, {"iterations": 0})])
def test_with_no_rounds_they_are_random_selection(function, nothing, clean, trigger, make_model):
    ids = function(clean, trigger, make_model=make_model, seed=3, **ATTACK, **nothing)
    assert torch.equal(ids, random_selection(clean, trigger, make_model=make_model, seed=3, **ATTACK))


def test_the_whole_budget_leaves_no_choice(clean, trigger, make_model):
    rest = {"target_label": 0, "poison_rate": (clean.labels != 0).double().mean().item(), "make_model": make_model}
    selected = [random_selection(clean, trigger, seed=0, **rest), lps(clean, trigger, **rest, **FAST),
              lps(clean, trigger, per_class=False, **rest, **FAST),
              fus(clean, trigger, iterations=1, iteration_epochs=1, **rest)]  # fmt: skip
    assert all(torch.equal(ids, (clean.labels != 0).nonzero().squeeze(1)) for ids in selected)


def by_hand(data, trigger, make_model, seed, rounds, score="poison", additive=False):
    """LPS written out plainly: its sets and poison losses, round by round."""
    ids, network, sets, losses = None, make_model(), [], []
    ids = random_selection(data, trigger, make_model=make_model, seed=seed, **ATTACK)
    triggered = apply_trigger(data.images, trigger).float() / 255
    for number in range(rounds):
        plant = poison_beside if additive else poison_at
        schedule = Schedule(
            1, 0.05, anneal="one_cycle", batch_size=50, augmentation=None, seed=surrogate_seed(seed, number)
        )
        network = train(network, plant(data, trigger, AllToOne(0), ids).data, schedule)
        with torch.no_grad():
            a = -network(triggered).log_softmax(1)[:, 0]
            b = -network(data.images.float() / 255).log_softmax(1)[torch.arange(len(data)), data.labels]
        values = a if score == "poison" else a - b
        allowed = per_class_budget(data.labels, target_label=0, count=len(ids), seed=seed)
        picked = []
        for label, most in enumerate(allowed.tolist()):
            members = [i for i in range(len(data)) if data.labels[i] == label]
            picked += sorted(members, key=lambda i: -values[i].item())[:most]
        ids = torch.tensor(sorted(picked))
        sets.append(ids)
        losses.append(a)
    return sets, losses


@pytest.mark.parametrize("how", [{}, {"score": "difference"}, {"additive": True}])
def test_the_rounds_are_those_written_out(how, clean, trigger, make_model):
    shown = {}
    ids = lps(clean, trigger, make_model=make_model, seed=2, **ATTACK, **FAST, **how, on_event=shown.__setitem__)
    sets, losses = by_hand(clean, trigger, make_model, 2, FAST["rounds"], **how)
    assert torch.equal(torch.stack(sets), shown["rounds"][1:]) and torch.equal(ids, sets[-1])
    torch.testing.assert_close(shown["losses"], torch.stack(losses), rtol=1e-4, atol=1e-5)


def test_one_choice_has_the_schedule_of_all_rounds_on_the_random_set(clean, trigger, make_model):
    shown = {}
    settings = {"make_model": make_model, "seed": 2, **ATTACK, **FAST}
    ids = lps(clean, trigger, alternate=False, round_epochs=2, on_event=shown.__setitem__, **settings)
    start = random_selection(clean, trigger, make_model=make_model, seed=2, **ATTACK)
    network, poisoned = make_model(), poison_at(clean, trigger, AllToOne(0), start).data
    for number in range(FAST["rounds"]):
        seed = surrogate_seed(2, number)
        network = train(
            network, poisoned, Schedule(2, 0.05, anneal="one_cycle", batch_size=50, augmentation=None, seed=seed)
        )
    known = poison_losses(network, clean, trigger, target_label=0)
    torch.testing.assert_close(shown["losses"], known[None])
    assert torch.equal(shown["rounds"], torch.stack([start, ids]))


def test_the_controls_go_the_other_way(clean, trigger, make_model):
    settings = {"make_model": make_model, "seed": 2, **ATTACK, **FAST}
    means = {}
    for key in ("lps", "lps_lowest", "lps_unconstrained"):
        shown = {}
        ids = attacks.SELECTIONS[key](clean, trigger, on_event=shown.__setitem__, **settings)
        last, outside = shown["losses"][-1], clean.labels != 0
        means[key] = (last[ids].mean() / last[outside].mean()).item()
    assert means["lps_lowest"] < 1 < means["lps"] <= means["lps_unconstrained"] + 1


def test_the_loss_of_the_set_falls_in_a_round_and_jumps_when_it_is_chosen_anew(clean, trigger, make_model):
    shown = {}
    lps(clean, trigger, make_model=make_model, rounds=4, round_epochs=4, learning_rate=0.05, batch_size=50, seed=1,
        on_event=shown.__setitem__, **ATTACK)  # fmt: skip
    before, after = sawtooth(shown["rounds"], shown["losses"])
    assert all(high > low for low, high in zip(before, after, strict=True))  # re-selection
    assert all(low < high for low, high in zip(before[1:], after[:-1], strict=True))  # training


def test_the_surrogate_and_the_data_are_left_alone(clean, trigger, make_model):
    images, labels, state = clean.images.clone(), clean.labels.clone(), torch.get_rng_state()
    for function, few in ((lps, FAST), (fus, {"iterations": 1, "iteration_epochs": 1})):
        function(clean, trigger, make_model=make_model, **ATTACK, **few)
    assert torch.equal(clean.images, images) and torch.equal(clean.labels, labels)
    assert torch.equal(torch.get_rng_state(), state)


# Losses and copies
def test_poison_losses_are_plain_cross_entropy(backdoored, clean, trigger):
    triggered = apply_trigger(clean.images, trigger).float() / 255
    with torch.no_grad():
        known = -backdoored(triggered).log_softmax(1)[:, 2]
        own = -backdoored(clean.images.float() / 255).log_softmax(1).gather(1, clean.labels[:, None]).squeeze(1)
    torch.testing.assert_close(poison_losses(backdoored, clean, trigger, target_label=2), known, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(clean_losses(backdoored, clean, batch_size=7), own, rtol=1e-4, atol=1e-5)
    assert not backdoored.training


def test_copies_stand_beside_the_originals(clean, trigger):
    ids = torch.tensor([3, 8, 20])
    both, instead = (f(clean, trigger, AllToOne(1), ids) for f in (poison_beside, poison_at))
    assert len(both.data) == 203 and both.is_poisoned.nonzero().squeeze(1).tolist() == [200, 201, 202]
    assert torch.equal(both.data.images[:200], clean.images) and torch.equal(both.data.labels[:200], clean.labels)
    assert torch.equal(both.data.images[200:], instead.data.images[ids]) and (both.data.labels[200:] == 1).all()
