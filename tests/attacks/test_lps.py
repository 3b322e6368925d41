"""LPS and FUS: the inner step is exact, the rounds are the loop they claim to be, and what is chosen is kept."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from bdlib import attacks
from bdlib.attacks.poisoning import Poisoned
from bdlib.attacks.selection.fus import correctness, forgetting_events, fus, most_forgotten, refilled
from bdlib.attacks.selection.lps import lps
from bdlib.attacks.selection.ranking import (
    clean_losses,
    highest_in_every_class,
    highest_of_all,
    per_class_budget,
    poison_at,
    poison_beside,
    poison_losses,
    random_selection,
    surrogate_seed,
)
from bdlib.data.images import batches
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.experiments import run as experiments
from bdlib.experiments import victims
from bdlib.experiments.victims import VictimConfig, selected
from bdlib.mechanisms import MECHANISMS
from bdlib.mechanisms.lps import auc, jaccard, largest_share, sawtooth, spectral_auc, surrogate_epochs
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
    chosen = [random_selection(clean, trigger, seed=0, **rest), lps(clean, trigger, **rest, **FAST),
              lps(clean, trigger, per_class=False, **rest, **FAST),
              fus(clean, trigger, iterations=1, iteration_epochs=1, **rest)]  # fmt: skip
    assert all(torch.equal(ids, (clean.labels != 0).nonzero().squeeze(1)) for ids in chosen)


def by_hand(data, trigger, make_model, seed, rounds, score="poison", additive=False):
    """LPS written out plainly: its sets and poison losses, round by round."""
    ids, network, sets, losses = None, make_model(), [], []
    ids = random_selection(data, trigger, make_model=make_model, seed=seed, **ATTACK)
    stamped = apply_trigger(data.images, trigger).float() / 255
    for number in range(rounds):
        now = poison_beside if additive else poison_at
        schedule = Schedule(
            1, 0.05, anneal="one_cycle", batch_size=50, augmentation=None, seed=surrogate_seed(seed, number)
        )
        network = train(network, now(data, trigger, ids, target_label=0).data, schedule)
        with torch.no_grad():
            a = -network(stamped).log_softmax(1)[:, 0]
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


def test_one_round_spends_the_same_epochs_on_the_random_set(clean, trigger, make_model):
    shown = {}
    settings = {"make_model": make_model, "seed": 2, **ATTACK, **FAST}
    lps(clean, trigger, alternate=False, round_epochs=2, on_event=shown.__setitem__, **settings)
    start = random_selection(clean, trigger, make_model=make_model, seed=2, **ATTACK)
    schedule = Schedule(4, 0.05, anneal="one_cycle", batch_size=50, augmentation=None, seed=surrogate_seed(2, 0))
    network = train(make_model(), poison_at(clean, trigger, start, target_label=0).data, schedule)
    known = poison_losses(network, clean, trigger, target_label=0)
    torch.testing.assert_close(shown["losses"], known[None])


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


# FUS
def test_forgetting_is_right_then_wrong():
    right = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 1, 1]]).bool()
    assert forgetting_events(right).tolist() == [2, 0, 0, 1]
    assert forgetting_events(right[:1]).tolist() == [0, 0, 0, 0]


def test_the_half_that_was_forgotten_most_is_kept_and_the_rest_is_new():
    ids, events = torch.arange(10, 19), torch.tensor([0, 3, 1, 0, 2, 0, 5, 1, 4])
    kept = most_forgotten(ids, events, keep_ratio=0.5, seed=0)
    assert sorted(kept.tolist()) == [11, 14, 16, 18]
    full = refilled(kept, torch.arange(30), count=9, seed=0)
    assert len(set(full.tolist())) == 9 and set(kept.tolist()) <= set(full.tolist())
    assert torch.equal(full, full.sort().values)
    assert not torch.equal(full, refilled(kept, torch.arange(30), count=9, seed=1))


def test_correctness_is_that_of_the_training_pass(clean, make_model):
    """Written out by hand: what the network answers, in training mode, to each batch before it steps on it."""
    schedule = Schedule(
        2, 0.05, anneal="constant", batch_size=50, augmentation=2, weight_decay=0.0, momentum=0.0, seed=4
    )
    right, network = correctness(make_model(), clean, schedule), make_model().train()
    generator, known = torch.Generator().manual_seed(4), torch.zeros(2, len(clean), dtype=torch.bool)
    for epoch in range(2):
        for batch in batches(clean, 50, augmentation=2, generator=generator):
            logits = network(batch.images)
            known[epoch, batch.ids] = logits.argmax(1) == batch.labels
            network.zero_grad()
            F.cross_entropy(logits, batch.labels).backward()
            with torch.no_grad():
                for weight in network.parameters():
                    weight -= 0.05 * weight.grad
    assert 0.1 < known.double().mean() < 1 and (right == known).double().mean() > 0.99


def test_every_iteration_starts_from_a_fresh_network(clean, trigger, make_model):
    shown, built = {}, []
    fus(clean, trigger, make_model=lambda: built.append(make_model()) or built[-1], iterations=2, iteration_epochs=2,
        learning_rate=0.05, on_event=shown.__setitem__, seed=1, **ATTACK)  # fmt: skip
    assert len(built) == 2 and shown["rounds"].shape == (3, 12) and shown["events"].shape == (2, 12)
    for old, events, new in zip(shown["rounds"][:-1], shown["events"], shown["rounds"][1:], strict=True):
        stay = torch.isin(old, new)
        assert stay.sum() == 6 and events[stay].min() >= events[~stay].max()


# Losses, copies, measures
def test_poison_losses_are_plain_cross_entropy(backdoored, clean, trigger):
    stamped = apply_trigger(clean.images, trigger).float() / 255
    with torch.no_grad():
        known = -backdoored(stamped).log_softmax(1)[:, 2]
        own = -backdoored(clean.images.float() / 255).log_softmax(1).gather(1, clean.labels[:, None]).squeeze(1)
    torch.testing.assert_close(poison_losses(backdoored, clean, trigger, target_label=2), known, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(clean_losses(backdoored, clean, batch_size=7), own, rtol=1e-4, atol=1e-5)
    assert not backdoored.training


def test_copies_stand_beside_the_originals(clean, trigger):
    ids = torch.tensor([3, 8, 20])
    both, instead = (f(clean, trigger, ids, target_label=1) for f in (poison_beside, poison_at))
    assert len(both.data) == 203 and both.is_poisoned.nonzero().squeeze(1).tolist() == [200, 201, 202]
    assert torch.equal(both.data.images[:200], clean.images) and torch.equal(both.data.labels[:200], clean.labels)
    assert torch.equal(both.data.images[200:], instead.data.images[ids]) and (both.data.labels[200:] == 1).all()


def test_measures_have_known_values():
    assert auc(torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([True, False, True, False])) == 0.875
    assert torch.tensor(auc(torch.rand(3), torch.zeros(3, dtype=torch.bool))).isnan()
    assert jaccard(torch.tensor([1, 2, 3]), torch.tensor([3, 4])) == 0.25
    assert largest_share(torch.tensor([1, 1, 5, 7])) == 0.5
    rounds, losses = torch.tensor([[0, 1], [2, 3], [1, 3]]), torch.tensor([[1.0, 2, 3, 4], [1.0, 2, 3, 5]])
    assert sawtooth(rounds, losses) == ([1.5, 4.0], [3.5, 3.5])
    assert sawtooth(rounds, losses[1:]) == ([4.0], [3.5])  # FUS: only the last network scored


def test_the_spectral_score_finds_what_lies_along_the_main_direction(clean):
    far, flags = clean.images.clone(), torch.arange(200) < 20
    far[flags] = 255
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)).eval()
    marked = Poisoned(type(clean)(far, torch.zeros_like(clean.labels)), flags)
    assert spectral_auc(network, marked, target_label=0) == 1.0


def test_the_cost_is_counted_in_epochs():
    given = {"rounds": 5, "round_epochs": 2, "iterations": 3, "iteration_epochs": 4}
    assert {key: surrogate_epochs(key, **given) for key in attacks.SELECTIONS} == {
        "random": 0, "fus": 12, "lps": 10, "lps_unconstrained": 10, "lps_one_round": 10, "lps_lowest": 10,
    }  # fmt: skip


# The recipe
TINY = {"data_fraction": 0.02, "victim_epochs": 1, "poison_rate": 0.05, "rounds": 1, "iterations": 1,
        "iteration_epochs": 2}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    return tmp_path


@pytest.mark.parametrize("key", ["fus", "lps"])
def test_the_chosen_images_are_kept_and_found_again(key, cache):
    recipe = VictimConfig(selection=key, seed=3, **TINY)
    found, path = selected(recipe), recipe.selection_path
    written = path.stat().st_mtime_ns
    again = recipe.select(recipe.data()[0])
    assert all(torch.equal(found[name], again[name]) for name in again) and {"rounds", "losses"} < found.keys()
    assert selected(recipe).keys() == found.keys() and path.stat().st_mtime_ns == written
    assert torch.equal(recipe.poisoned().is_poisoned.nonzero().squeeze(1), load_file(path)["ids"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="choosing the images again"):
        assert torch.equal(selected(recipe)["ids"], found["ids"])


def test_everything_that_shapes_a_selection_is_in_its_name():
    base = {"selection": "lps", **TINY}
    changes = [{}, {"seed": 1}, {"attack": "blended"}, {"poison_rate": 0.1}, {"rounds": 2}, {"round_epochs": 2},
               {"victim_batch_size": 32}, {"data_fraction": 0.5}, {"target_label": 1}, {"selection": "fus"},
               {"model": "wrn_16_1"}, {"selection": "lps_lowest"}]  # fmt: skip
    recipes = [VictimConfig(**(base | change)) for change in changes]
    assert len({r.selection_path for r in recipes}) == len({r.path for r in recipes}) == len(changes)
    one, longer = (VictimConfig(**(base | {"victim_epochs": epochs})) for epochs in (1, 2))
    assert one.selection_path == longer.selection_path and one.path != longer.path
    plain = {name: value for name, value in TINY.items() if name not in ("rounds", "iterations", "iteration_epochs")}
    assert VictimConfig(**TINY).path == VictimConfig(**plain).path  # random selection has no settings


def test_a_surrogate_never_has_the_victims_weights(cache, monkeypatch):
    recipe, started = VictimConfig(selection="lps", **TINY), []

    def watched(train, trigger, *, make_model, **_):
        started.append(make_model())
        return torch.tensor([1])

    monkeypatch.setitem(attacks.SELECTIONS, "lps", watched)
    monkeypatch.setattr(VictimConfig, "selection_settings", {})
    recipe.select(recipe.data()[0])
    same = zip(started[0].parameters(), recipe.untrained().parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in same)


@pytest.mark.parametrize("key", ["random", "lps", "fus"])
def test_what_is_measured_is_finite_and_needs_no_poison(key, cache):
    settings = {"selection": key, **{name: TINY[name] for name in ("rounds", "iterations", "iteration_epochs")}}
    settings |= {"round_epochs": 1, "target_label": 0}
    for attack in ("badnets", "none"):
        recipe = VictimConfig(selection=key, attack=attack, **TINY)
        there = [recipe.untrained().eval(), recipe.data()[0], recipe.trigger, recipe.poisoned(), selected(recipe)]
        found = MECHANISMS["lps"](*there, **settings)
        assert all(torch.tensor(list(found.values())).isfinite())
        assert ("jaccard_between_rounds" in found) == (key != "random" and attack != "none")
        assert ("auc_spectral" in found) == (attack != "none")
    assert found["poisoned_images"] == 0


def test_the_code_of_a_selection_is_part_of_a_records_digest():
    given = {"attack": "badnets", "defense": "none"}
    codes = {experiments.code_of("nad", given | {"selection": key}) for key in ("random", "lps", "fus")}
    assert len(codes) == 3
