"""The correctness checks of benign salience, the penalty and the mask, and AR against a plain re-implementation."""

import re
from copy import deepcopy
from itertools import pairwise
from math import e, exp

import pytest
import torch
import torch.nn.functional as F

from bdlib.attacks.none import NoTrigger
from bdlib.checks import ParameterError
from bdlib.data.images import batches
from bdlib.defenses.ar.method import REGULARIZERS, adaptive_penalty, ar, masked_share, released_penalty
from bdlib.defenses.ar.salience import benign_salience, mask, updated, weights_inside
from bdlib.mechanisms.ar import ar as measure
from bdlib.mechanisms.ar import backdoor_salience, change, output_layers, salience_of
from bdlib.mechanisms.ar_precision import chance, precision
from bdlib.models import tap, vgg19_bn
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

LAYERS = ("stem", "layer1", "layer2", "layer3", "head")
FAST = dict(layers=LAYERS, epochs=2, learning_rate=0.02, batch_size=64, augmentation=None)
SCORES = torch.randn(7, 11, generator=torch.Generator().manual_seed(0))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


def slope(penalty, at):
    weight = torch.tensor(at, requires_grad=True)
    (gradient,) = torch.autograd.grad(penalty(weight).sum(), weight)
    return gradient


def test_the_adaptive_penalty_is_even_continuous_and_smooth_but_at_zero():
    points = torch.tensor([1.0, -1.0, 2.0, 0.3, 0.0])
    assert torch.allclose(adaptive_penalty(points), torch.tensor([1.0, 1.0, e, 0.3, 0.0]), atol=1e-6)
    assert torch.allclose(slope(adaptive_penalty, [1.0, -1.0, -1.5, 0.2]), torch.tensor([1.0, -1.0, -exp(0.5), 1.0]))
    line = torch.linspace(-4, 4, 801)
    assert torch.equal(adaptive_penalty(line), adaptive_penalty(-line))
    assert (adaptive_penalty(line) >= line.abs() - 1e-6).all()
    near = torch.tensor([1 - 1e-4, 1 + 1e-4])
    assert adaptive_penalty(near).diff() < 3e-4 and slope(adaptive_penalty, near.tolist()).diff().abs() < 2e-4


@pytest.mark.parametrize("at", [-2.5, -1.5, -0.4, 0.2, 1.7])
def test_a_step_on_the_penalty_alone_goes_towards_zero_and_not_past_it(at):
    rate, alpha = 0.1, 0.5
    moved = at - rate * alpha * slope(adaptive_penalty, [at]).item()
    assert abs(at) - abs(moved) == pytest.approx(rate * alpha * max(1.0, exp(abs(at) - 1)), abs=1e-6)
    assert moved * at > 0


def test_what_was_released_pushes_weights_below_minus_one_away_and_masks_nothing_up_to_one():
    everything, nothing = torch.tensor([True]), torch.tensor([False])
    assert slope(lambda w: released_penalty(w, everything), [-1.5]).item() == pytest.approx(exp(0.5), abs=1e-4)
    assert released_penalty(torch.tensor([-1.0 - 1e-6]), everything).item() == pytest.approx(-1, abs=1e-4)
    for at in (-0.9, 0.2, 1.0):
        assert slope(lambda w: released_penalty(w, nothing), [at]) == slope(
            lambda w: released_penalty(w, everything), [at]
        )
    assert slope(lambda w: released_penalty(w, nothing), [1.5]) == 1
    assert slope(lambda w: released_penalty(w, everything), [1.5]).item() == pytest.approx(exp(0.5), abs=1e-4)


@pytest.mark.parametrize("select", ["top", "bottom", "bottom_abs"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.55, 1.0])
def test_the_mask_marks_that_many_at_the_right_end(select, share):
    marked = mask(SCORES, share, select)
    merit = {"top": -SCORES, "bottom": SCORES, "bottom_abs": SCORES.abs()}[select]
    first = merit.flatten().argsort()[: int(share * 77)]
    expected = torch.zeros(77, dtype=torch.bool).index_fill(0, first, True)
    assert torch.equal(marked.flatten(), expected) and marked.shape == SCORES.shape


def test_ties_are_marked_together_and_larger_shares_hold_smaller_ones():
    assert mask(torch.tensor([1.0, 2.0, 2.0, 3.0]), 0.5, "bottom").tolist() == [True, True, True, False]
    shares = [masked_share(epoch, 10) for epoch in range(1, 11)]
    assert shares == pytest.approx([0.55 + 0.05 * number for number in range(10)]) and shares[-1] == 1
    assert all(masked_share(7, 7, start) == 1 for start in (0.0, 0.3, 0.77))
    marks = [mask(SCORES, share) for share in shares]
    assert all((small <= large).all() for small, large in pairwise(marks)) and marks[-1].all()


def test_the_score_is_the_moving_average_and_predicts_removal_to_first_order():
    weight, gradient = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    once = updated(torch.zeros(2), gradient, weight, 0.9)
    assert torch.allclose(once, torch.tensor([-0.1, 0.3]))
    assert torch.allclose(updated(once, gradient, weight, 0.9), torch.tensor([-0.19, 0.57]))
    inputs, wanted = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 0.1, -0.7])
    for size in (1e-2, 1e-3):
        scale = torch.tensor([size], requires_grad=True)
        loss = ((scale * inputs - wanted) ** 2).mean()
        (slope_here,) = torch.autograd.grad(loss, scale)
        rise = (wanted**2).mean() - loss.detach()
        assert abs(updated(torch.zeros(1), slope_here, scale, 0.0).item() - rise.item()) < 3 * size**2


def test_benign_salience_is_one_pass_of_plain_gradients(backdoored, clean):
    found = benign_salience(backdoored, clean, layers=LAYERS, decay=0.8, batch_size=64, augmentation=2, seed=3)
    network, expected = deepcopy(backdoored).train(), {}
    for batch in batches(clean, 64, augmentation=2, generator=torch.Generator().manual_seed(3)):
        network.zero_grad()
        F.cross_entropy(network(batch.images), batch.labels).backward()
        for name, p in network.named_parameters():
            expected[name] = 0.8 * expected.get(name, 0) - 0.2 * p.grad * p.detach()
    assert {name for name in expected if "bn" not in name and "shortcut.1" not in name} == set(found)
    assert all(torch.allclose(score, expected[name], atol=1e-5) for name, score in found.items())
    assert any((score > 0).any() and (score < 0).any() for score in found.values())


def test_salience_of_a_filter_before_batch_norm_sums_to_zero(backdoored, clean):
    """The loss does not change with the scale of such a filter, so by Euler its signed scores cancel."""
    for name, score in benign_salience(backdoored, clean, layers=LAYERS, batch_size=64, augmentation=None).items():
        rows = score.flatten(1) if score.dim() > 1 else score[:, None]
        sums, sizes = rows.sum(1).abs(), rows.abs().sum(1)
        if name.startswith("layer"):
            assert (sums <= 2e-3 * sizes.max()).all(), name
        else:
            assert sums.max() > 0.05 * sizes.max(), name


def test_what_epsilon_leaves_of_the_sum_is_the_salience_of_the_gain(backdoored, clean):
    """With variance v, a filter's signed sum is eps / (v + eps) of the salience of the BatchNorm weight behind it."""
    network, layer = deepcopy(backdoored), "layer2.0.conv1"
    network.get_submodule("layer2.0.bn1").eps = 0.1
    whole = dict(batch_size=len(clean), augmentation=None)
    salience, gains = salience_of(network, clean, **whole)
    with torch.no_grad(), tap(network.train(), layer) as seen:
        network(clean.images.float() / 255)
    variance = seen[layer].var((0, 2, 3), unbiased=False)
    sums = salience[layer].flatten(1).sum(1)
    assert torch.allclose(sums, gains[layer] * 0.1 / (variance + 0.1), atol=1e-5 * gains[layer].abs().max())
    assert torch.equal(gains["stem"], salience["stem"].flatten(1).sum(1))


def test_the_salience_of_a_gain_predicts_what_removing_the_filter_does(backdoored, clean):
    """To first order: a small part of the gain removed raises the loss by that part of the salience."""
    network, whole = deepcopy(backdoored), dict(batch_size=len(clean), augmentation=None, decay=0.0)
    _, gains = salience_of(network, clean, **whole)
    score, worst = gains["layer3.0.conv1"], gains["layer3.0.conv1"].abs().argmax()
    losses = []
    for factor in (1.0, 0.99):
        changed = deepcopy(network).train()
        changed.get_parameter("layer3.0.bn1.weight").data[worst] *= factor
        with torch.no_grad():
            losses.append(F.cross_entropy(changed(clean.images.float() / 255), clean.labels).item())
    assert losses[1] - losses[0] == pytest.approx(0.01 * score[worst].item(), rel=0.1)


def test_alpha_zero_is_fine_tuning_bit_for_bit(backdoored, clean):
    repaired = ar(backdoored, clean, alpha=0.0, momentum=0.9, seed=2, **FAST)
    schedule = Schedule(2, 0.02, anneal="constant", batch_size=64, weight_decay=0.0, augmentation=None, seed=2)
    assert torch.equal(weights(repaired), weights(train(deepcopy(backdoored), clean, schedule)))


def by_hand(model, clean, *, alpha, pays, end, released=False, epochs=2, rate=0.02, momentum=0.9, start=0.5, decay=0.9):
    """AR as one plain loop: the whole loss is differentiated, the score takes what it should of the gradient."""
    network = deepcopy(model).train()
    names = [name for name, _ in network.named_parameters() if "bn" not in name and "shortcut.1" not in name]
    score = benign_salience(model, clean, layers=LAYERS, decay=decay, batch_size=64, augmentation=None)
    velocity, generator = {}, torch.Generator().manual_seed(0)
    for epoch in range(1, epochs + 1):
        for batch in batches(clean, 64, generator=generator):
            network.zero_grad()
            F.cross_entropy(network(batch.images), batch.labels).backward()
            for name in names:
                p = network.get_parameter(name)
                ordered = end(score[name]).flatten().argsort(descending=True)
                chosen = ordered[: int((start + (1 - start) * epoch / epochs) * p.numel())]
                marked = torch.zeros(p.numel()).index_fill(0, chosen, 1.0).view_as(p)
                plain = p.grad.clone()
                (alpha * pays(p, marked)).sum().backward()
                felt = p.grad if released else plain
                score[name] = decay * score[name] - (1 - decay) * felt * p.detach()
            for name, p in network.named_parameters():
                velocity[name] = momentum * velocity.get(name, 0) + p.grad
                p.data -= rate * velocity[name]
    return network


ENDS = {"bottom": lambda s: -s, "top": lambda s: s, "bottom_abs": lambda s: -s.abs()}
PENALTIES = {
    "adaptive": lambda w, m: m * torch.where(w.abs() <= 1, w.abs(), torch.exp(w.abs() - 1)),
    "l1": lambda w, m: m * w.abs(),
    "l2": lambda w, m: m * w * w,
    "l2_matched": lambda w, m: m * w * w,
}


@pytest.mark.parametrize("regularizer, select", [("adaptive", "bottom"), ("l1", "top"), ("l2", "bottom_abs")])
def test_ar_is_a_plain_loop(backdoored, clean, regularizer, select):
    ours = ar(backdoored, clean, alpha=1e-3, regularizer=regularizer, select=select, **FAST)
    theirs = by_hand(backdoored, clean, alpha=1e-3, pays=PENALTIES[regularizer], end=ENDS[select])
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-5)
    assert REGULARIZERS.keys() == PENALTIES.keys()


def test_the_released_variant_has_all_three_defects_and_only_it(backdoored, clean):
    wide = deepcopy(backdoored)
    wide.head.weight.data[0, :8] -= 1.5  # some weights on the branch with the wrong sign
    ours = ar(wide, clean, alpha=1e-3, variant="released", select="bottom", regularizer="l2", **FAST)

    def pays(w, m):
        left, right = (w * m < -1).float(), (w * m > 1).float()
        return right * (w - 1).exp() - left * (-w - 1).exp() + (1 - left - right) * w.abs()

    theirs = by_hand(wide, clean, alpha=1e-3, pays=pays, end=ENDS["top"], released=True)
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-5)
    assert not torch.allclose(weights(ours), weights(ar(wide, clean, alpha=1e-3, select="top", **FAST)), atol=1e-5)


def test_only_marked_weights_feel_the_penalty(backdoored, clean):
    """Seen through a first step: weights outside the mask, and all outside `layers`, step as in fine-tuning."""
    one = dict(FAST, epochs=1, momentum=0.0, layers=("layer3",), batch_size=len(clean))
    salience = benign_salience(backdoored, clean, layers=("layer3",), batch_size=len(clean), augmentation=None)
    # in a single epoch all are marked: the first of two epochs marks 3/4 of them
    paths = {}
    for alpha in (0.0, 0.1):
        steps = []
        ar(
            backdoored,
            clean,
            alpha=alpha,
            on_event=lambda name, told, s=steps: name == "epoch" and s.append(deepcopy(told.model)),
            **dict(one, epochs=2),
        )
        paths[alpha] = dict(steps[0].named_parameters())
    for name, plain in paths[0.0].items():
        difference = paths[0.1][name] - plain
        if name not in salience:
            assert torch.equal(paths[0.1][name], plain)
            continue
        before = dict(backdoored.named_parameters())[name]
        marked = mask(salience[name], 0.75)
        assert (difference[~marked] == 0).all() and marked.float().mean() == pytest.approx(0.75, abs=1e-3)
        assert torch.allclose(difference[marked], -0.002 * before[marked].sign(), atol=1e-6)


def test_a_stronger_penalty_leaves_smaller_weights(backdoored, clean):
    def size(alpha):
        return sum(
            w.detach().abs().sum() for w in weights_inside(ar(backdoored, clean, alpha=alpha, **FAST), LAYERS).values()
        )

    assert size(1e-2) < size(1e-3) < size(0.0)


def test_it_tells_every_epoch(backdoored, clean):
    told = []
    repaired = ar(backdoored, clean, alpha=1e-3, on_event=lambda name, value: told.append((name, value)), **FAST)
    *epochs, (last, convergence) = told
    assert [(name, epoch.number) for name, epoch in epochs] == [("epoch", 0), ("epoch", 1)]
    assert all(epoch.model is repaired and epoch.mean_loss > 0 for _, epoch in epochs)
    left = sum(w.detach().abs().sum() for w in weights_inside(repaired, LAYERS).values())
    assert last == "convergence" and [loss for loss, _ in convergence] == [epoch.mean_loss for _, epoch in epochs]
    assert convergence[-1][1] == pytest.approx(
        (left / sum(w.numel() for w in weights_inside(repaired, LAYERS).values())).item()
    )


@pytest.mark.parametrize("select", ["bottom", "top"])
def test_l2_is_matched_to_the_adaptive_penalty_at_the_first_step(backdoored, clean, select):
    """Its own weight, by hand: the penalties of the marked weights are equal; with that weight it is plain L2."""
    salience = benign_salience(backdoored, clean, layers=LAYERS, batch_size=64, augmentation=None)
    marks = {name: mask(score, masked_share(1, 2), select) for name, score in salience.items()}
    its = weights_inside(backdoored, LAYERS)
    pays = {
        kind: sum((REGULARIZERS[kind](w.detach()) * marks[n]).sum() for n, w in its.items()).item()
        for kind in ("adaptive", "l2")
    }
    weight = 1e-3 * pays["adaptive"] / pays["l2"]
    assert weight > 5e-3
    matched = ar(backdoored, clean, alpha=1e-3, regularizer="l2_matched", select=select, **FAST)
    plain = ar(backdoored, clean, alpha=weight, regularizer="l2", select=select, **FAST)
    assert torch.allclose(weights(matched), weights(plain), atol=1e-6)
    again = ar(backdoored, clean, alpha=0.0, regularizer="l2_matched", **FAST)
    assert torch.equal(weights(again), weights(ar(backdoored, clean, alpha=0.0, **FAST)))


def test_l2_without_a_marked_weight_has_nothing_to_match(backdoored, clean):
    empty = deepcopy(backdoored)
    for weight in weights_inside(empty, ["head"]).values():
        weight.data.zero_()
    with pytest.raises(ParameterError, match=r"^regularizer='l2_matched': needs a weight that is marked"):
        ar(empty, clean, regularizer="l2_matched", **dict(FAST, layers=["head"]))
    assert ar(empty, clean, regularizer="l2_matched", **dict(FAST, epochs=0)) is not empty


def test_the_course_of_a_repair_is_measured_where_it_was_watched(backdoored, clean, test_set):
    events = EventLog()
    events["convergence"] = [(0.5, 0.03), (0.2, 0.02), (0.3, 0.02), (0.35, 0.01)]
    settings = dict(target_label=0, layers=list(LAYERS), batch_size=64, augmentation=None)
    found = measure(backdoored, backdoored, clean, test_set, NoTrigger(), events, **settings)
    assert found["loss_rises"] == pytest.approx(0.15)
    assert found["mean_weight_course"] == pytest.approx(0.02 / found["mean_weight_before"])


def test_by_default_the_head_alone_is_purified(backdoored, clean):
    once = dict(alpha=1e-3, epochs=1, augmentation=None)
    default, named = ar(backdoored, clean, **once), ar(backdoored, clean, layers=["head"], **once)
    assert torch.equal(weights(default), weights(named))


def test_unknown_names_are_refused(backdoored, clean):
    with pytest.raises(ParameterError, match=r"^layers='layer9': must be a layer; there are normalize, stem, layer1, "):
        ar(backdoored, clean, **dict(FAST, layers=("layer9",)))
    for wrong in ({"select": "middle"}, {"regularizer": "l3"}, {"variant": "relesed"}, {"layers": []}):
        (name, value), *_ = wrong.items()
        with pytest.raises(ParameterError, match=rf"^{name}={re.escape(repr(value))}: must be "):
            ar(backdoored, clean, **FAST | wrong)


def test_precision_and_chance_by_hand():
    truth = {"a": torch.arange(20.0), "b": torch.tensor([3.0, 1.0, 2.0])}
    best, worst = truth, {name: -values for name, values in truth.items()}
    assert precision(best, truth, 0.1) == 1 and precision(worst, truth, 0.1) == 0
    half = {"a": torch.arange(20.0), "b": torch.zeros(3).index_fill(0, torch.tensor(1), 1.0)}
    assert precision(half, truth, 0.1) == pytest.approx(2 / 3)  # two of layer a's, none of layer b's one
    assert chance(truth, 0.1) == pytest.approx((4 / 20 + 1 / 3) / 3)
    draws = [precision({n: torch.rand(len(v)) for n, v in truth.items()}, truth, 0.1) for _ in range(2000)]
    assert sum(draws) / len(draws) == pytest.approx(chance(truth, 0.1), abs=0.03)


def test_filters_are_read_behind_their_batch_norm(backdoored):
    assert output_layers(backdoored) == {
        "stem": "stem",
        **{f"layer{i}.0.conv{j}": f"layer{i}.0.bn{j}" for i in (1, 2, 3) for j in (1, 2)},
        **{f"layer{i}.0.shortcut.0": f"layer{i}.0.shortcut.1" for i in (2, 3)},
    }
    with torch.device("meta"):
        deep = output_layers(vgg19_bn(3, 4, (0.5,) * 3, (0.25,) * 3))
    assert len(deep) == 16 and deep["features.0"] == "features.1"


def test_a_filter_that_only_the_trigger_moves_is_found(backdoored, clean, test_set, trigger):
    truth = change(backdoored, test_set, trigger)
    assert precision(truth, truth, 0.1) == 1
    hanging = backdoor_salience(backdoored, test_set[torch.arange(50)], trigger, target_label=0)
    network, name = deepcopy(backdoored), "layer3.0.conv2"
    images = trigger(test_set.images[:50].float() / 255)
    F.cross_entropy(network(images), torch.zeros(50, dtype=torch.long)).backward()
    p = network.get_parameter(f"{name}.weight")
    assert torch.allclose(hanging[name], -(p.grad * p.detach()).flatten(), atol=1e-5)


def test_what_is_measured_is_finite_and_leaves_the_trigger_out_on_a_twin(backdoored, clean, test_set, trigger):
    repaired = ar(backdoored, clean, alpha=1e-3, **FAST)
    settings = dict(target_label=0, layers=list(LAYERS), batch_size=64, augmentation=None)
    before = deepcopy(backdoored.state_dict())
    found = measure(backdoored, repaired, clean, test_set, trigger, EventLog(), **settings)
    assert all(isinstance(value, float) and 0 <= value < 10 for value in found.values())
    assert found["mean_weight_after"] < found["mean_weight_before"]
    assert found["change_left"] != 1 and 0.05 < found["precision_chance"] < 0.15
    assert measure(backdoored, backdoored, clean, test_set, trigger, EventLog(), **settings)["change_left"] == 1
    twin = measure(backdoored, repaired, clean, test_set, NoTrigger(), EventLog(), **settings)
    assert twin == {name: value for name, value in found.items() if name.startswith(("mean_weight", "share_above"))}
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
