"""The correctness checks of NWC's stages, each beside a plain computation of the same thing."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from bdlib.attacks.none import NoTrigger
from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet, batches
from bdlib.defenses.nwc import (
    RATIOS,
    activeness_aware_fine_tune,
    choose_ratio,
    convolutions,
    neuron_weight_change,
    nwc,
    reinitialize,
    unlearn,
    weight_change,
)
from bdlib.defenses.nwc.filters import KEPT
from bdlib.evaluation.course import Course
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.trigger_analysis import trigger_activated_change
from bdlib.mechanisms.nwc import activeness, agreement, overlap, poison_unlearn, selected_shares, shuffled, zeroing
from bdlib.mechanisms.nwc import nwc as mechanism
from bdlib.models import accuracy, resnet18, seeded
from bdlib.training.loop import Schedule, train
from bdlib.training.sam import perturbation
from bdlib.types import EventLog

REPAIR = Schedule(2, 0.01, anneal="constant", batch_size=64, weight_decay=0.0, augmentation=None)
ASCENT = replace(REPAIR, epochs=200, learning_rate=3e-3, seed_per_epoch=True)
STAGES = dict(learning_rate=0.01, unlearning_rate=3e-3, epochs=2, batch_size=64, augmentation=None, stop_accuracy=0.25)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


@pytest.fixture(scope="module")
def unlearned(backdoored, clean):
    return unlearn(backdoored, clean, ASCENT, stop_accuracy=0.25)


@pytest.fixture(scope="module")
def change(backdoored, unlearned):
    return weight_change(backdoored, unlearned)


def test_unlearning_climbs_step_by_step(backdoored, clean):
    """One epoch by hand: SGD with momentum on minus the cross-entropy, in the order in which the epoch is drawn."""
    by_hand, generator = deepcopy(backdoored).train(), torch.Generator().manual_seed(3 * 1)
    optimizer = SGD(by_hand.parameters(), 3e-3, momentum=0.9)
    for batch in batches(clean, 64, generator=generator):
        optimizer.zero_grad()
        (-F.cross_entropy(by_hand(batch.images), batch.labels)).backward()
        optimizer.step()
    climbed = unlearn(backdoored, clean, replace(ASCENT, epochs=1, seed=3), stop_accuracy=1.0)
    assert torch.allclose(weights(climbed), weights(by_hand), atol=1e-5)


def test_unlearning_stops_at_the_first_epoch_that_is_low_enough(backdoored, clean):
    trace, start = [], deepcopy(backdoored.state_dict())
    unlearn(backdoored, clean, ASCENT, stop_accuracy=0.25, on_event=lambda _, m: trace.append(accuracy(m, clean)))
    assert len(trace) > 1 and trace[-1] <= 0.25 and all(value > 0.25 for value in trace[:-1])
    assert all(torch.equal(value, start[name]) for name, value in backdoored.state_dict().items())


@pytest.mark.filterwarnings("ignore")
def test_unlearning_that_runs_away_or_takes_too_long_is_an_error(backdoored, clean):
    with pytest.raises(FloatingPointError, match="finite|nan|inf"):
        unlearn(backdoored, clean, replace(ASCENT, learning_rate=10, epochs=200), stop_accuracy=0.0)
    with pytest.raises(RuntimeError, match=r"stop_accuracy=0.25: not reached in 1 epochs"):
        unlearn(backdoored, clean, replace(ASCENT, epochs=1, learning_rate=1e-7), stop_accuracy=0.25)


def test_broken_weights_are_noticed(backdoored, clean):
    """Its losses are all finite, and accuracy reads as chance: only the weights tell."""
    broken = deepcopy(backdoored)
    broken.get_submodule("head").bias.data[0] = torch.inf
    one = clean[clean.labels == 0]
    with pytest.raises(ParameterError, match="model: gives logits that are not finite"):
        unlearn(broken, one, ASCENT, stop_accuracy=0.25)


def test_the_change_is_the_sum_of_absolute_differences(backdoored, unlearned, change):
    found = neuron_weight_change(change)
    assert list(found) == [f"{x}" for x in ("stem", *(f"layer{i}.0.conv{j}" for i in (1, 2, 3) for j in (1, 2)))]
    for name, values in found.items():
        old, new = (m.get_parameter(f"{name}.weight").tolist() for m in (backdoored, unlearned))
        for number, value in enumerate(values.tolist()):
            flat = [torch.tensor(w[number]).flatten().double() for w in (old, new)]
            assert value == pytest.approx((flat[0] - flat[1]).abs().sum().item(), rel=1e-4) and value > 0


def test_no_change_is_zero_and_twice_the_change_ranks_alike(backdoored, unlearned, change):
    assert all((values == 0).all() for values in neuron_weight_change(weight_change(backdoored, backdoored)).values())
    further = deepcopy(unlearned)
    for start, end in zip(backdoored.parameters(), further.parameters(), strict=True):
        end.data += end.data - start.data
    doubled = weight_change(backdoored, further)
    for one, two in zip(neuron_weight_change(change).values(), neuron_weight_change(doubled).values(), strict=True):
        assert torch.allclose(2 * one, two, rtol=1e-3)
    ratios = {"neuron_ratio": 0.3, "weight_ratio": 0.5}
    once, twice = (weights(reinitialize(backdoored, c, **ratios)) == 0 for c in (change, doubled))
    assert (once != twice).float().mean() < 1e-3  # rounding alone


def test_shortcuts_are_left_out():
    assert len(convolutions(seeded(lambda: resnet18(3, 10, (0.5,) * 3, (0.25,) * 3), seed=0))) == 17


def by_hand(model, change, neuron_ratio, weight_ratio):
    """The zeroed weights, with lists and sorting instead of tensors: {(layer, filter, position)}."""
    filters = [(c.sum().item(), name, j) for name, layer in change.items() for j, c in enumerate(layer)]
    filters.sort(key=lambda entry: -entry[0])
    picked = filters[: int(neuron_ratio * len(filters) + 1e-9)]
    pool = [(v, name, j, i) for _, name, j in picked for i, v in enumerate(change[name][j].flatten().tolist())]
    pool.sort(key=lambda entry: -entry[0])
    return {entry[1:] for entry in pool[: int(weight_ratio * len(pool) + 1e-9)]}


@pytest.mark.parametrize(("neuron_ratio", "weight_ratio"), [(0.3, 0.7), (0.7, 0.1), (0.01, 0.5)])
def test_the_zeroed_weights_are_the_ones_sorted_out_by_hand(backdoored, change, neuron_ratio, weight_ratio):
    emptied = reinitialize(backdoored, change, neuron_ratio=neuron_ratio, weight_ratio=weight_ratio)
    expected = by_hand(backdoored, change, neuron_ratio, weight_ratio)
    found = {
        (name, j, i)
        for name, layer in convolutions(emptied).items()
        for j, i in (layer.weight.flatten(1) == 0).nonzero().tolist()
    }
    assert found == expected and len(found) > 0
    for (name, old), new in zip(backdoored.state_dict().items(), emptied.state_dict().values(), strict=True):
        if name.removesuffix(".weight") not in change:
            assert torch.equal(old, new), name
        else:
            assert torch.equal(old[new != 0], new[new != 0])


def test_no_filter_is_the_identity_and_all_weights_are_whole_filters(backdoored, change):
    for ratios in ((0.0, 0.7), (0.001, 0.7), (0.5, 0.0)):
        same = reinitialize(backdoored, change, neuron_ratio=ratios[0], weight_ratio=ratios[1])
        assert torch.equal(weights(same), weights(backdoored)) and not same.training
    emptied = reinitialize(backdoored, change, neuron_ratio=0.25, weight_ratio=1.0)
    whole = [(layer.weight.flatten(1) == 0).all(1) for layer in convolutions(emptied).values()]
    some = [(layer.weight.flatten(1) == 0).any(1) for layer in convolutions(emptied).values()]
    assert torch.equal(torch.cat(whole), torch.cat(some)) and torch.cat(whole).sum() == 480 // 4


def test_the_released_ranking_ties_what_rounds_alike():
    """Two filters 0.00004 apart: the larger is first, but for the released code they tie and the earlier one stays."""
    model = nn.Conv2d(1, 2, 1, bias=False)
    change = {"": torch.tensor([1.00001, 1.00004])[:, None, None, None]}
    zeroed = {}
    for variant in ("paper", "released"):
        emptied = reinitialize(model, change, neuron_ratio=0.5, weight_ratio=1.0, variant=variant)
        zeroed[variant] = (emptied.weight.flatten() == 0).tolist()
    assert zeroed == {"paper": [False, True], "released": [True, False]}


def test_the_repair_is_the_mixture_written_out(backdoored, clean):
    """One epoch with both gradients by hand; each tensor looks its own rho uphill."""
    by_hand, generator = deepcopy(backdoored).train(), torch.Generator().manual_seed(0)
    parameters = list(by_hand.parameters())
    speed = [torch.zeros_like(p) for p in parameters]
    for batch in batches(clean, 100, generator=generator):
        level = [p.detach().clone() for p in parameters]
        here = torch.autograd.grad(F.cross_entropy(by_hand(batch.images), batch.labels), parameters)
        statistics = deepcopy([b.clone() for b in by_hand.buffers()])
        with torch.no_grad():
            for p, g in zip(parameters, here, strict=True):
                p += 0.05 * g / (g.norm() + 1e-12)
        above = torch.autograd.grad(F.cross_entropy(by_hand(batch.images), batch.labels), parameters)
        with torch.no_grad():
            for old, now in zip(statistics, by_hand.buffers(), strict=True):
                now.copy_(old)
            for p, start, v, g, h in zip(parameters, level, speed, here, above, strict=True):
                v.mul_(0.9).add_(0.3 * g + 0.7 * h)
                p.copy_(start - 0.01 * v)
    schedule = replace(REPAIR, epochs=1, batch_size=100)
    repaired = activeness_aware_fine_tune(backdoored, clean, schedule, alpha=0.7, rho=0.05)
    ours = {name: p for name, p in repaired.named_parameters()}
    assert all(torch.allclose(ours[name], p, atol=1e-5) for name, p in by_hand.named_parameters())
    assert all(torch.allclose(repaired.get_buffer(n), b, atol=1e-4) for n, b in by_hand.named_buffers() if "var" in n)


def test_without_alpha_or_radius_the_repair_is_plain_fine_tuning(backdoored, clean):
    plain = weights(train(deepcopy(backdoored), clean, REPAIR))
    for options in ({"alpha": 0.0, "rho": 0.05}, {"alpha": 0.7, "rho": 0.0}, {"alpha": 0.2, "rho": 0.0}):
        assert torch.equal(weights(activeness_aware_fine_tune(backdoored, clean, REPAIR, **options)), plain)
    control = nwc(backdoored, clean, **STAGES, neuron_ratio=0.0, alpha=0.0)
    assert torch.equal(weights(control), plain)
    assert not torch.equal(weights(activeness_aware_fine_tune(backdoored, clean, REPAIR, alpha=0.7, rho=0.05)), plain)


def test_the_mixture_penalises_the_gradient():
    """For a quadratic loss, (g' - g) / rho is the gradient of ||g||, and so the penalty's weight is alpha rho."""
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    matrix = root @ root.T
    theta = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.double, requires_grad=True)
    here = matrix @ theta.detach()
    (shift,) = perturbation([theta.detach()], [here], 0.05, adaptive=False, per_tensor=True)
    uphill = matrix @ (theta.detach() + shift)
    (penalty,) = torch.autograd.grad((matrix @ theta).norm(), theta)
    assert torch.allclose((uphill - here) / 0.05, penalty, atol=1e-9)
    assert torch.allclose(0.3 * here + 0.7 * uphill, here + 0.7 * 0.05 * penalty, atol=1e-9)


def test_nwc_is_its_stages(backdoored, clean):
    whole = nwc(backdoored, clean, **STAGES, neuron_ratio=0.2, weight_ratio=0.6, alpha=0.5, rho=0.1, seed=3)
    unlearned = unlearn(backdoored, clean, replace(ASCENT, epochs=1000, seed=3), stop_accuracy=0.25)
    change = weight_change(backdoored, unlearned)
    emptied = reinitialize(backdoored, change, neuron_ratio=0.2, weight_ratio=0.6)
    repaired = activeness_aware_fine_tune(emptied, clean, replace(REPAIR, seed=3), alpha=0.5, rho=0.1)
    assert torch.equal(weights(whole), weights(repaired))


def test_the_rule_takes_the_largest_share_that_leaves_a_network_and_looks_at_clean_images_only(
    backdoored, clean, change
):
    lowest = KEPT * accuracy(backdoored, clean)
    emptied = {n: reinitialize(backdoored, change, neuron_ratio=n, weight_ratio=0.7) for n in RATIOS}
    fitting = [n for n, network in emptied.items() if accuracy(network, clean) >= lowest]
    ratio = choose_ratio(backdoored, change, clean, weight_ratio=0.7)
    assert ratio == max(fitting, default=0.0) and ratio < 0.4  # at 0.4 the toy network is at chance, as all victims are
    wrong = ImageSet(clean.images, (clean.labels + 1) % 4)
    spoiled = train(deepcopy(backdoored), wrong, replace(REPAIR, epochs=0))
    assert choose_ratio(spoiled, change, wrong, weight_ratio=0.0) == max(RATIOS)  # zeroing nothing costs nothing


def test_no_share_stands_for_the_rule(backdoored, clean):
    events = EventLog()
    by_rule = nwc(backdoored, clean, **STAGES, neuron_ratio=None, on_event=events)
    ratio = choose_ratio(backdoored, events["change"], clean, weight_ratio=0.7)
    assert events["neuron_ratio"] == ratio
    assert torch.equal(weights(by_rule), weights(nwc(backdoored, clean, **STAGES, neuron_ratio=ratio)))


def test_zeroing_is_scored_in_both_orders_where_a_network_is_left(backdoored, clean, test_set, trigger, change):
    options = dict(target_label=0, weight_ratio=0.7)
    found = zeroing(backdoored, change, clean, test_set, trigger, **options, seed=5)
    random = shuffled(change, seed=5)
    assert all(torch.equal(a.sum(1).sort(0).values, b.sum(1).sort(0).values) for a, b in
               zip(change.values(), random.values(), strict=True))  # fmt: skip
    for name, order in (("zeroed", change), ("random", random)):
        emptied = reinitialize(backdoored, order, neuron_ratio=0.1, weight_ratio=0.7)
        assert found[f"{name}_0.1_asr"] == evaluate(emptied, test_set, trigger, target_label=0).asr
    assert found["kept_share"] == choose_ratio(backdoored, change, clean, weight_ratio=0.7)
    assert found["zeroed_kept_accuracy"] > 0.7 * accuracy(backdoored, test_set) > found["zeroed_0.4_accuracy"]


def test_logits_that_are_all_nan_read_as_the_first_class():
    """Exercise 1 of the chapter: argmax counts NaN as the largest number, and takes the first of equals."""
    assert torch.tensor([1.0, torch.nan, 2.0]).argmax() == 1 and torch.full((10,), torch.nan).argmax() == 0


def test_the_released_code_runs_one_epoch_more(backdoored, clean):
    asked = STAGES | {"epochs": 1}
    released = nwc(backdoored, clean, **asked, neuron_ratio=0.0, alpha=0.0, variant="released")
    assert torch.equal(weights(released), weights(train(deepcopy(backdoored), clean, REPAIR)))


def test_no_repair_leaves_the_emptied_network(backdoored, clean, change):
    emptied = reinitialize(backdoored, change, neuron_ratio=0.3, weight_ratio=0.7)
    kept = activeness_aware_fine_tune(emptied, clean, replace(REPAIR, epochs=0), alpha=0.7, rho=0.05)
    assert torch.equal(weights(kept), weights(emptied)) and not kept.training


def test_poison_unlearning_ends_where_the_attack_does_and_agreement_is_by_rank(
    backdoored, test_set, trigger, unlearned, change
):
    poison = poison_unlearn(backdoored, test_set, trigger, ASCENT, target_label=0)
    assert evaluate(poison, test_set, trigger, target_label=0).asr <= 0.05
    assert evaluate(unlearned, test_set, trigger, target_label=0).asr > 0.9  # clean unlearning leaves the backdoor
    other = weight_change(backdoored, poison)
    assert agreement(change, other)["correlation_all_layers"] > 0.1
    cubed = {name: moved.sum((1, 2, 3), keepdim=True) ** 3 for name, moved in change.items()}
    assert agreement(change, cubed)["correlation_last_layer"] == pytest.approx(1, abs=1e-3)


def test_overlap_counts_the_filters_shared_by_both_orders(backdoored, test_set, trigger, change):
    moved = trigger_activated_change(backdoored, test_set, trigger, ["layer3.0.conv2"])["layer3.0.conv2"]
    top = {number for number, _ in sorted(enumerate(moved.tolist()), key=lambda pair: -pair[1])[:25]}
    summed = change["layer3.0.conv2"].sum((1, 2, 3)).tolist()
    ours = {number for number, _ in sorted(enumerate(summed), key=lambda pair: -pair[1])[:25]}
    found = overlap(backdoored, change, test_set, trigger)
    assert found == {"overlap_with_triggered": pytest.approx(len(top & ours) / 25), "overlap_by_chance": 25 / 128}


def test_watching_a_repair_changes_nothing_and_sees_its_end(backdoored, clean, test_set, trigger):
    attack = {"trigger": trigger, "target_label": 0}
    course = Course(lambda model: evaluate(model, test_set, **attack), "epoch")
    watched = activeness_aware_fine_tune(backdoored, clean, REPAIR, alpha=0.7, rho=0.05, on_event=course)
    alone = activeness_aware_fine_tune(backdoored, clean, REPAIR, alpha=0.7, rho=0.05)
    assert torch.equal(weights(watched), weights(alone))
    assert list(course.looks["epoch"]) == [1, 2] and course.looks["epoch"][2] == evaluate(alone, test_set, **attack)


def test_gradient_norms_are_those_of_the_first_epoch(backdoored, clean):
    """At a rate of nothing the weights stand still: the mean over batches of the summed absolute gradients."""
    still = replace(ASCENT, learning_rate=1e-30, seed=2)
    found, model = activeness(backdoored, clean, still), deepcopy(backdoored).train()
    sums = []
    for batch in batches(clean, 64, generator=torch.Generator().manual_seed(2 * 200)):
        weight = model.get_parameter("layer3.0.conv2.weight")
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(batch.images), batch.labels), weight)
        sums.append(gradient.abs().sum((1, 2, 3)))
    assert torch.allclose(found["layer3.0.conv2"], torch.stack(sums).mean(0), atol=1e-5)


def test_shares_of_selected_filters_add_up(change):
    shares = selected_shares(change, 0.25)
    assert sum(shares[name] * len(layer) for name, layer in change.items()) == pytest.approx(480 / 4)
    assert set(selected_shares(change, 0.0).values()) == {0.0}


def test_the_record_holds_finite_measures_and_none_that_need_a_trigger_without_one(
    backdoored, clean, test_set, trigger
):
    events, options = EventLog(), dict(unlearning_rate=3e-3, batch_size=64, augmentation=None, target_label=0)
    nwc(backdoored, clean, **STAGES, on_event=events)
    measured = mechanism(backdoored, clean, test_set, trigger, events, **options)
    assert {"correlation_last_layer", "unlearned_asr", "reinitialized_asr", "overlap_with_triggered"} < measured.keys()
    assert measured["unlearned_accuracy"] < 0.4 and all(isinstance(value, float) for value in measured.values())
    assert measured["unlearning_epochs"] == events.counts["unlearning_epoch"] > 1
    clean_model = mechanism(backdoored, clean, test_set, NoTrigger(), events, **options)
    assert clean_model.keys() < measured.keys()
    assert not [name for name in clean_model if "asr" in name or "correlation" in name]
    nothing = EventLog()
    nwc(backdoored, clean, **STAGES | {"epochs": 0}, neuron_ratio=0.0, on_event=nothing)
    assert mechanism(backdoored, clean, test_set, trigger, nothing, **options) == {}


def test_the_measure_does_not_unlearn_once_more(backdoored, clean, test_set, unlearned, change, monkeypatch):
    events = EventLog()
    for name, value in (
        ("unlearned", unlearned),
        ("change", change),
        ("neuron_ratio", 0.4),
        ("reinitialized", backdoored),
    ):
        events(name, value)
    monkeypatch.setattr("bdlib.mechanisms.nwc.unlearn", None)
    options = dict(unlearning_rate=3e-3, batch_size=64, augmentation=None, target_label=0)
    assert mechanism(backdoored, clean, test_set, NoTrigger(), events, **options)["unlearned_accuracy"] < 0.4


def test_an_error_in_on_event_reaches_the_caller(backdoored, clean):
    def fail(name, value):
        raise StopIteration(name)

    with pytest.raises(StopIteration, match="unlearning_epoch"):
        nwc(backdoored, clean, **STAGES, on_event=fail)
