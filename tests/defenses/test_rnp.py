"""The correctness checks of RNP's stages, each against a plain re-implementation, and of its measures."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from toy_task import STATISTICS, toy

from bdlib.attacks.none import NoTrigger
from bdlib.data.images import batches
from bdlib.defenses.rnp import recover_masks, rnp, unlearn
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.trigger_analysis import joined
from bdlib.mechanisms.rnp import (
    backdoor_filters,
    exposure,
    lowest_masks,
    oracle_choice,
    order_scores,
    pruning_sweep,
    remaining_filters,
)
from bdlib.mechanisms.rnp import rnp as measure
from bdlib.models import accuracy, seeded, small_resnet
from bdlib.training.filter_masks import THRESHOLDS, Masked, batch_norms, choose_threshold, prune
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

ASCENT = Schedule(20, 0.003, "constant", batch_size=64, augmentation=None)
RECOVERY = replace(ASCENT, epochs=3, learning_rate=0.2, weight_decay=0.0)
SETTINGS = dict(stop_accuracy=0.3, unlearning_rate=0.003, unlearning_epochs=20, alpha=0.2, recovery_rate=0.2,
                recovery_epochs=3, batch_size=64, augmentation=None)  # fmt: skip


def everything(model, data):
    with torch.no_grad():
        return F.cross_entropy(model.eval()(data.images.float() / 255), data.labels).item()


@pytest.fixture(scope="module")
def unlearned(backdoored, clean):
    return unlearn(backdoored, clean, ASCENT, stop_accuracy=0.3)


@pytest.fixture(scope="module")
def run(backdoored, clean):
    events = EventLog()
    return rnp(backdoored, clean, **SETTINGS, on_event=events), events


@pytest.fixture(scope="module")
def masks(unlearned, clean):
    return recover_masks(unlearned, clean, RECOVERY, alpha=0.2)


def test_unlearned_weights_fit_the_masked_network(backdoored, unlearned):
    masked = Masked(deepcopy(backdoored))
    weights = {f"model.{name}": value for name, value in unlearned.state_dict().items()}
    missing, unexpected = masked.load_state_dict(weights, strict=False)
    assert not unexpected and missing == [f"masks.{i}" for i in range(len(masked.masks))]


def test_ascent_raises_the_loss_and_stops_as_soon_as_it_may(backdoored, clean, unlearned):
    trace = []
    again = unlearn(
        backdoored, clean, ASCENT, stop_accuracy=0.3, on_event=lambda _, model: trace.append(accuracy(model, clean))
    )
    assert everything(unlearned, clean) > everything(backdoored, clean)
    assert trace[-1] <= 0.3 < min(trace[:-1]) and accuracy(again, clean) == trace[-1]
    assert not again.training and len(trace) < 20 * 4


def test_the_unlearned_model_keeps_the_backdoor_and_shows_its_target(backdoored, unlearned, test_set, trigger, clean):
    before, after = (evaluate(m, test_set, trigger, target_label=0) for m in (backdoored, unlearned))
    assert before.asr > 0.9 and after.asr > 0.9 and after.clean_accuracy < 0.5
    assert exposure(unlearned, clean).argmax() == 0
    assert exposure(unlearned, clean).sum().item() == pytest.approx(1)


def test_unlearning_is_plain_gradient_ascent(backdoored, clean):
    ours = unlearn(backdoored, clean, replace(ASCENT, epochs=1, seed=3), stop_accuracy=0.0)
    plain = deepcopy(backdoored).train()
    weights = list(plain.parameters())
    momenta, generator = [torch.zeros_like(w) for w in weights], torch.Generator().manual_seed(3)
    for images, labels, _ in batches(clean, 64, generator=generator):
        gradients = torch.autograd.grad(-F.cross_entropy(plain(images), labels), weights)
        with torch.no_grad():
            for w, momentum, gradient in zip(weights, momenta, gradients, strict=True):
                momentum.mul_(0.9).add_(gradient + 5e-4 * w)
                w.sub_(0.003 * momentum)
    for a, b in zip(ours.parameters(), weights, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_never_reaching_the_stop_is_no_error(backdoored, clean):
    for variant in ("paper", "released"):
        slow = unlearn(
            backdoored, clean, replace(ASCENT, learning_rate=1e-7, epochs=1), stop_accuracy=0.3, variant=variant
        )
        assert accuracy(slow, clean) > 0.9 and not slow.training
    idle = unlearn(backdoored, clean, replace(ASCENT, epochs=0), stop_accuracy=0.3)
    assert all(torch.equal(a, b) for a, b in zip(idle.parameters(), backdoored.parameters(), strict=True))


def test_the_released_stop_overshoots(backdoored, clean):
    """It comes at the end of an epoch only, and by then the model has forgotten more."""
    trace = []
    unlearn(backdoored, clean, ASCENT, stop_accuracy=0.3, variant="released",
            on_event=lambda _, model: trace.append(accuracy(model, clean)))  # fmt: skip
    first = next(step for step, right in enumerate(trace, 1) if right <= 0.3)
    assert len(trace) % 4 == 0 and len(trace) > first


def test_only_masks_are_trained_and_they_stay_in_range(unlearned, clean):
    before, seen = deepcopy(unlearned.state_dict()), []

    def look(name, network):
        assert name == "recovery_step"
        assert all(p.grad is None for p in network.model.parameters())
        seen.append(joined(network.values()))

    masks = recover_masks(unlearned, clean, RECOVERY, alpha=0.2, on_event=look)
    assert len(seen) == 3 * 4 and all(0 <= s.min() and s.max() <= 1 for s in seen)
    assert torch.equal(joined(masks), seen[-1]) and (seen[-1] < 1).any()
    assert all(torch.equal(value, before[name]) for name, value in unlearned.state_dict().items())


def test_recovery_is_plain_descent_on_clipped_masks(unlearned, clean):
    ours = recover_masks(unlearned, clean, replace(RECOVERY, epochs=1, seed=3), alpha=0.2)
    plain = deepcopy(unlearned).train()
    layers, generator = batch_norms(plain), torch.Generator().manual_seed(3)
    gammas = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    values = {name: torch.ones_like(gamma) for name, gamma in gammas.items()}
    momenta = {name: torch.zeros_like(gamma) for name, gamma in gammas.items()}
    for images, labels, _ in batches(clean, 64, generator=generator):
        for name, layer in layers.items():
            layer.weight.data = gammas[name] * values[name]
        loss = 0.2 * F.cross_entropy(plain(images), labels)
        gradients = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
        for name, gradient in zip(layers, gradients, strict=True):
            momenta[name] = 0.9 * momenta[name] + gradient * gammas[name]  # the chain rule
            values[name] = (values[name] - 0.2 * momenta[name]).clamp(0, 1)
    assert torch.allclose(joined(ours), joined(values), atol=1e-5)


def test_pruning_changes_the_weights_of_pruned_filters_only(backdoored, masks):
    threshold = joined(masks).quantile(0.1).item()
    after = prune(backdoored, masks, threshold).state_dict()
    for name, value in backdoored.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer in masks:
            off = masks[layer] <= threshold
            assert (after[name][off] == 0).all() and torch.equal(after[name][~off], value[~off])
        else:
            assert torch.equal(after[name], value)


def test_pruning_is_monotone(backdoored, masks):
    left = [remaining_filters(backdoored, prune(backdoored, masks, t)) for t in (-1.0, *THRESHOLDS, 1.0)]
    assert left[0].all() and not left[-1].any()
    assert all((more | ~less).all() for more, less in pairwise(left))


def test_a_clean_model_is_left_nearly_as_accurate(clean, test_set):
    model = seeded(lambda: small_resnet(3, 4, *STATISTICS), seed=0)
    train(model, toy(1000, seed=0), Schedule(4, 0.05, batch_size=64, augmentation=None))
    after = rnp(model, clean, **SETTINGS, allowed_drop=0.01)
    assert accuracy(after, test_set) > accuracy(model, test_set) - 0.02


def test_the_threshold_is_the_largest_that_the_clean_images_allow(backdoored, masks, clean):
    milestones = {t: accuracy(backdoored, clean) - accuracy(prune(backdoored, masks, t), clean) for t in THRESHOLDS}
    for allowed in (0.0, 0.05, 0.3):
        expected = max((t for t, drop in milestones.items() if drop <= allowed + 1e-9), default=-1.0)
        assert choose_threshold(backdoored, masks, clean, allowed_drop=allowed) == expected
    ruinous = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    assert choose_threshold(backdoored, ruinous, clean, allowed_drop=0.05) == -1.0


def test_rnp_is_its_stages_and_removes_the_toy_backdoor(run, backdoored, masks, clean, test_set, trigger):
    whole, _ = run
    parts = prune(backdoored, masks, choose_threshold(backdoored, masks, clean, allowed_drop=0.05))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    assert evaluate(whole, test_set, trigger, target_label=0).asr < 0.5


def test_backdoor_filters_are_the_most_moved_of_each_layer():
    marks = backdoor_filters({"a": torch.arange(20.0), "b": torch.tensor([3.0, 1.0, 2.0])}, top=0.1)
    assert marks.nonzero().flatten().tolist() == [18, 19, 20]
    assert lowest_masks(torch.tensor([0.5, 0.0, 1.0, 0.0]), 0.5).tolist() == [1, 3]


def test_the_sweep_prunes_the_lowest_masks_whatever_their_size(backdoored, masks, test_set, trigger):
    """Masks that all lie above 0.9 have an order too: a sweep of thresholds up to 0.9 would prune nothing by them."""
    attack = dict(trigger=trigger, target_label=0, shares=(0.05, 0.1))
    sweep = pruning_sweep(backdoored, masks, test_set, **attack)
    high = {layer: 0.95 + 0.05 * mask for layer, mask in masks.items()}
    assert joined(high).min() > THRESHOLDS[-1]
    assert sweep.equals(pruning_sweep(backdoored, high, test_set, **attack))
    assert sweep["pruned"].tolist() == [0, round(0.05 * len(joined(masks))), round(0.1 * len(joined(masks)))]
    values = joined(masks)
    cut = values.sort().values[sweep["pruned"].iloc[1] - 1].item()
    if (values <= cut).sum() == sweep["pruned"].iloc[1]:  # no ties at the cut
        direct = evaluate(prune(backdoored, masks, cut), test_set, trigger, target_label=0)
        assert (sweep["accuracy"].iloc[1], sweep["asr"].iloc[1]) == (direct.clean_accuracy, direct.asr)
    assert oracle_choice(sweep)["der"] == sweep["der"].max()


def test_an_order_is_judged_at_a_price():
    """A broken network's low success rate does not count, and the smallest share that removes the backdoor does."""
    rows = {"share": [0.0, 0.1, 0.2, 0.3], "pruned": [0, 1, 2, 3], "accuracy": [0.9, 0.88, 0.86, 0.5],
            "asr": [1.0, 0.4, 0.1, 0.0], "der": [0.5, 0.79, 0.93, 0.8]}  # fmt: skip
    scores = order_scores(pd.DataFrame(rows))
    assert scores["floor_asr"] == 0.1 and scores["removal_share"] == 0.2 and scores["oracle_pruned"] == 2
    worse = order_scores(pd.DataFrame(rows | {"accuracy": [0.9, 0.88, 0.5, 0.4]}))
    assert worse["floor_asr"] == 0.4 and worse["removal_share"] == 1.0


def test_what_is_measured_with_a_trigger_and_without(run, backdoored, unlearned, clean, test_set, trigger):
    defended, events = run
    assert {"unlearned", "masks", "threshold", "recovery_step"} < events.keys()
    assert all(torch.equal(a, b) for a, b in zip(events["unlearned"].parameters(), unlearned.parameters(), strict=True))
    measured = measure(backdoored, defended, clean, test_set, trigger, events, target_label=0)
    clean_model = measure(backdoored, defended, clean, test_set, NoTrigger(), events, target_label=0)
    assert all(isinstance(v, float) and torch.tensor(v).isfinite() for v in measured.values())
    assert measured["exposure"] == exposure(unlearned, clean)[0] and measured["unlearned_asr"] > 0.9
    assert measured["pruned_filters"] == (~remaining_filters(backdoored, defended)).sum() > 0
    assert measured["unlearning_steps"] == events.counts["unlearning_step"] > 0
    assert clean_model.keys() < measured.keys() and not [name for name in clean_model if "asr" in name]
    assert measure(backdoored, backdoored, clean, test_set, trigger, EventLog(), target_label=0) == {}


def test_the_measure_does_not_run_the_stages_once_more(run, backdoored, clean, test_set, trigger, monkeypatch):
    """All that it needs of them was told on the way; only the search for a trigger takes gradients, of its input."""
    defended, events = run
    monkeypatch.setattr(torch.Tensor, "backward", None)
    measured = measure(backdoored, defended, clean, test_set, trigger, events, target_label=0)
    assert measured["unlearning_steps"] > 0 and measured["lowest_floor_asr"] <= measured["random_floor_asr"]
    assert {"detection_auc", "victim_detection_auc", "errors_at_target", "recovered_likeness"} < measured.keys()


@pytest.mark.parametrize(
    ("name", "error"),
    [("unlearning_step", StopIteration), ("unlearning_step", KeyError), ("recovery_step", StopIteration),
     ("masks", StopIteration)],
)  # fmt: skip
def test_an_error_in_on_event_reaches_the_caller(backdoored, clean, name, error):
    """StopIteration too, by which unlearning was once told to end."""

    def fail(told, value):
        if told == name:
            raise error(told)

    with pytest.raises(error, match=name):
        rnp(backdoored, clean, **SETTINGS, on_event=fail)


def test_a_network_without_batch_norm_is_refused_before_any_training(clean):
    plain, told = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)), EventLog()
    with pytest.raises(ValueError, match=r"^model: filters are masked in BatchNorm2d layers"):
        rnp(plain, clean, on_event=told)
    assert not told
