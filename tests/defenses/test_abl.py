"""The correctness checks of ABL's events, each beside a plain computation of the same thing."""

from copy import deepcopy
from dataclasses import replace
from math import isfinite

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD

from bdlib.attacks.none import NoTrigger
from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import batches
from bdlib.defenses.abl.isolation import (
    divide,
    isolate,
    random_ids,
    sample_losses,
    thresholded_loss,
    train_with_loss_threshold,
)
from bdlib.defenses.abl.method import abl, unlearn_isolated
from bdlib.evaluation.metrics import evaluate
from bdlib.mechanisms.abl import abl as mechanism
from bdlib.mechanisms.abl import recalibrated
from bdlib.models import predict, share
from bdlib.training.filter_masks import batch_norms
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

FIRST = Schedule(2, 0.05, anneal="constant", batch_size=64, nesterov=True, weight_decay=1e-4, augmentation=None)
ASCENT = replace(FIRST, epochs=3, learning_rate=5e-4, batch_size=8, seed_per_epoch=True)
SETTINGS = dict(gamma=0.01, isolation_rate=0.05, isolation_epochs=2, epochs=3, milestone=1, learning_rate=0.05,
                batch_size=64, unlearning_epochs=3, unlearning_batch_size=16, augmentation=None)  # fmt: skip


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


@pytest.fixture(scope="module")
def run(make_model, poisoned):
    events = EventLog()
    return abl(make_model, poisoned.data, **SETTINGS, on_event=events), events


@pytest.mark.parametrize(
    ("threshold_rule", "values", "slopes"),
    [
        ("lga", [0.7, 0, -0.3], [1, 0, -1]),
        ("flooding", [0.7, 0.5, 0.7], [1, 0, -1]),
        ("none", [0.7, 0.5, 0.3], [1] * 3),
    ],
)
def test_the_threshold_reverses_the_gradient(threshold_rule, values, slopes):
    losses = torch.tensor([0.7, 0.5, 0.3], requires_grad=True)
    made = torch.stack([thresholded_loss(loss, gamma=0.5, threshold_rule=threshold_rule) for loss in losses])
    assert made.tolist() == pytest.approx(values)
    assert torch.autograd.grad(made.sum(), losses)[0].tolist() == slopes


def test_lga_and_flooding_train_the_same_network(make_model, poisoned):
    """Their gradients are equal, below the threshold and above it: so are all weights, to the last bit."""
    seen = []

    def look(name, epoch):
        seen.append(sample_losses(epoch.model, poisoned.data).mean().item())

    settings = {"gamma": 0.6}
    lga, flooding, none = (
        train_with_loss_threshold(
            make_model(), poisoned.data, FIRST, **settings, threshold_rule=threshold_rule, on_event=look
        )
        for threshold_rule in ("lga", "flooding", "none")
    )
    assert torch.equal(weights(lga), weights(flooding))
    assert not torch.equal(weights(lga), weights(none))  # the threshold was met
    assert len(seen) == 6 and seen[1] > seen[5]


@pytest.mark.parametrize("threshold_rule", ["lga", "flooding", "none"])
def test_a_threshold_of_nothing_is_plain_training(make_model, poisoned, threshold_rule):
    model = train_with_loss_threshold(make_model(), poisoned.data, FIRST, gamma=0.0, threshold_rule=threshold_rule)
    assert torch.equal(weights(model), weights(train(make_model(), poisoned.data, FIRST)))


def test_stage_one_climbs_and_descends_step_by_step(make_model, poisoned):
    """In order: SGD by hand, with the sign of the gradient turned where the batch's loss is below the threshold."""
    by_hand = make_model().to(memory_format=torch.channels_last).train()
    optimizer, below = SGD(by_hand.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4), []
    for start in [*range(0, 1000, 64)] * 2:
        here = slice(start, start + 64)
        images, labels = poisoned.data.images[here].float() / 255, poisoned.data.labels[here]
        optimizer.zero_grad()
        loss = F.cross_entropy(by_hand(images), labels)
        below.append(loss.item() < 1.0)
        (-loss if below[-1] else loss).backward()
        optimizer.step()
    assert 0 < sum(below) < len(below)
    trained = train_with_loss_threshold(make_model(), poisoned.data, FIRST, gamma=1.0, in_order=True)
    assert torch.allclose(weights(trained), weights(by_hand), atol=1e-5)
    assert not torch.allclose(
        weights(trained), weights(train_with_loss_threshold(make_model(), poisoned.data, FIRST, gamma=1.0))
    )


def test_losses_are_each_image_s_own_in_evaluation_mode(backdoored, poisoned):
    model = deepcopy(backdoored).train()
    found = sample_losses(model, poisoned.data, batch_size=300)
    assert model.training and torch.equal(weights(model), weights(backdoored))
    with torch.no_grad():
        logits = backdoored(poisoned.data.images.float() / 255)
    by_hand = logits.logsumexp(1) - logits[torch.arange(1000), poisoned.data.labels]
    assert torch.allclose(found, by_hand, atol=1e-5)


@pytest.mark.parametrize("rate", [0.01, 0.29, 0.0999, 1.0])
def test_the_lowest_losses_are_isolated_and_the_rest_is_the_rest(poisoned, rate):
    losses = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    ids = isolate(losses, rate)
    assert len(ids) == {0.01: 10, 0.29: 290, 0.0999: 99, 1.0: 1000}[rate]
    assert ids.tolist() == sorted(range(1000), key=lambda i: losses[i].item())[: len(ids)]
    isolated, rest = divide(poisoned.data, ids)
    assert len(isolated) == len(ids) and len(isolated) + len(rest) == 1000
    others = [i for i in range(1000) if i not in set(ids.tolist())]
    assert torch.equal(isolated.images, poisoned.data.images[ids.sort().values])
    assert torch.equal(rest.images, poisoned.data.images[others])
    assert not others or losses[ids].max() <= losses[others].min()


def test_isolation_follows_the_images_when_they_are_shuffled():
    losses = torch.rand(100, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(order[isolate(losses[order], 0.2)], isolate(losses, 0.2))
    assert isolate(torch.zeros(100), 0.03).tolist() == [0, 1, 2]


def test_isolating_nobody_is_refused(make_model, poisoned):
    with pytest.raises(ValueError, match=r"isolation_rate=0.0005: isolates 0 of 1000 images"):
        isolate(torch.zeros(1000), 0.0005)
    with pytest.raises(ValueError, match="isolates 1500 of 1000"):
        random_ids(1000, 1.5, seed=0)


def test_isolation_finds_poison_where_chance_does_not(run, poisoned, make_model):
    _, events = run
    assert share(poisoned.is_poisoned[events["isolated"]]) > 0.9  # of 10 % poison
    ids = random_ids(1000, 0.5, seed=0)
    assert len(set(ids.tolist())) == 500 and share(poisoned.is_poisoned[ids]) == pytest.approx(0.1, abs=0.03)
    assert not torch.equal(ids, random_ids(1000, 0.5, seed=1))


def test_the_method_is_its_stages(run, make_model, poisoned):
    defended, events = run
    losses = []

    def look(name, epoch):
        losses.append(sample_losses(epoch.model, poisoned.data))

    model = train_with_loss_threshold(make_model(), poisoned.data, FIRST, gamma=0.01, on_event=look)
    isolated, rest = divide(poisoned.data, isolate(losses[-1], 0.05))
    train(model, rest, replace(FIRST, epochs=3, milestones=(1,), seed=1))
    assert torch.equal(weights(model), weights(events["trained"]))
    assert [torch.equal(a, b) for a, b in zip(losses, events["losses"], strict=True)] == [True, True]
    climbing = replace(ASCENT, batch_size=16)
    assert torch.equal(weights(unlearn_isolated(model, isolated, climbing)), weights(defended))
    assert len(events["ascent"]) == 3
    assert events["ascent"][-1] == share(predict(defended, isolated) == isolated.labels)


def test_random_isolation_differs_in_the_isolated_images_alone(run, make_model, poisoned):
    events = EventLog()
    abl(make_model, poisoned.data, **SETTINGS, isolation="random", on_event=events, seed=0)
    assert torch.equal(events["losses"][-1], run[1]["losses"][-1])
    assert torch.equal(events["isolated"], random_ids(1000, 0.05, seed=0))


def climbed_by_hand(model, isolated, optimizer_of, epochs, seed):
    by_hand = deepcopy(model).train()
    optimizer = optimizer_of(by_hand)
    for epoch in range(epochs):
        for batch in batches(isolated, 8, generator=torch.Generator().manual_seed(seed * epochs + epoch)):
            optimizer.zero_grad()
            (-F.cross_entropy(by_hand(batch.images), batch.labels)).backward()
            optimizer.step()
    return by_hand


def test_the_ascent_climbs_step_by_step(backdoored, poisoned):
    isolated = poisoned.data[poisoned.is_poisoned]
    before = weights(backdoored)
    climbed = unlearn_isolated(backdoored, isolated, replace(ASCENT, seed=2))
    by_hand = climbed_by_hand(
        backdoored,
        isolated,
        lambda m: SGD(m.parameters(), 5e-4, momentum=0.9, nesterov=True, weight_decay=1e-4),
        epochs=3,
        seed=2,
    )
    assert torch.allclose(weights(climbed), weights(by_hand), atol=1e-5)
    assert not climbed.training and torch.equal(weights(backdoored), before)


def test_one_step_of_ascent_raises_the_loss_in_training_mode(backdoored, poisoned):
    isolated = poisoned.data[poisoned.is_poisoned]
    whole = replace(ASCENT, epochs=1, batch_size=200)
    losses = []
    for model in (backdoored, unlearn_isolated(backdoored, isolated, whole)):
        with torch.no_grad():
            logits = deepcopy(model).train()(isolated.images.float() / 255)
        losses.append(F.cross_entropy(logits, isolated.labels).item())
    assert losses[1] > losses[0]


def test_the_ascent_stops_when_the_isolated_images_are_no_longer_known(backdoored, poisoned):
    isolated, seen = poisoned.data[poisoned.is_poisoned], []

    def look(name, value):
        if name == "ascent_epoch":
            seen.append(share(predict(value, isolated) == isolated.labels))

    long = replace(ASCENT, epochs=50, learning_rate=2e-3)
    unlearn_isolated(backdoored, isolated, long, stop_accuracy=0.25, on_event=look)
    assert 0 < len(seen) < 50 and seen[-1] < 0.25 and all(value >= 0.25 for value in seen[:-1])


def test_released_goes_on_with_the_momentum_of_the_training_before(make_model, poisoned):
    second = replace(FIRST, learning_rate=0.01)
    isolated = poisoned.data[poisoned.is_poisoned]
    model = make_model()
    optimizer = second.sgd(model.parameters())
    train(model, poisoned.data, second, optimizer=optimizer)
    buffers = [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]

    def carried(by_hand):
        own = SGD(by_hand.parameters(), 5e-4, momentum=0.9, nesterov=True, weight_decay=1e-4)
        for p, buffer in zip(by_hand.parameters(), buffers, strict=True):
            own.state[p]["momentum_buffer"] = buffer.clone()
        return own

    climbed = unlearn_isolated(model, isolated, ASCENT, momentum_of=optimizer)
    by_hand = climbed_by_hand(model, isolated, carried, epochs=3, seed=0)
    assert torch.allclose(weights(climbed), weights(by_hand), atol=1e-5)
    assert not torch.allclose(weights(climbed), weights(unlearn_isolated(model, isolated, ASCENT)), atol=1e-5)
    left = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(buffers, left, strict=True))


def test_released_s_first_round_only_looks_and_nothing_stops_it(make_model, poisoned):
    events, quick = EventLog(), SETTINGS | {"unlearning_epochs": 1, "epochs": 1, "isolation_epochs": 1}
    made = abl(make_model, poisoned.data, **quick, variant="released", on_event=events)
    assert torch.equal(weights(made), weights(events["trained"])) and events["ascent"] == []
    harsh = quick | {"unlearning_epochs": 4, "stop_accuracy": 1.0, "unlearning_rate": 0.01}
    abl(make_model, poisoned.data, **harsh, variant="released", on_event=events)
    assert len(events["ascent"]) == 3
    abl(make_model, poisoned.data, **harsh, on_event=events)
    assert events["ascent"][-1] < 1 and len(events["ascent"]) <= 4


def test_recalibration_averages_the_batches_and_moves_no_weight(backdoored, poisoned):
    before = weights(backdoored)
    made = recalibrated(backdoored, poisoned.data, batch_size=250)
    assert torch.equal(weights(backdoored), before) and not made.training
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), backdoored.parameters(), strict=True))
    means, variances = [], []
    with torch.no_grad():
        for batch in batches(poisoned.data, 250):
            inputs = backdoored.get_submodule("stem")(backdoored.get_submodule("normalize")(batch.images))
            inputs = backdoored.get_submodule("layer1.0.conv1")(inputs.relu())
            means.append(inputs.mean((0, 2, 3)))
            variances.append(inputs.var((0, 2, 3)))
    layer = batch_norms(made)["layer1.0.bn1"]
    assert torch.allclose(layer.running_mean, torch.stack(means).mean(0), atol=1e-5)
    assert torch.allclose(layer.running_var, torch.stack(variances).mean(0), atol=1e-5)
    assert layer.momentum == batch_norms(backdoored)["layer1.0.bn1"].momentum == 0.1


def test_it_removes_the_backdoor_of_the_toy_task(run, test_set, trigger):
    """Raw; what the weights have unlearned once BatchNorm is repaired is measured, not promised."""
    defended, events = run
    before, after = (evaluate(m, test_set, trigger, target_label=0) for m in (events["trained"], defended))
    assert before.asr > 0.9 and after.asr < before.asr and after.clean_accuracy > before.clean_accuracy - 0.2


def test_the_record_counts_right_and_reads_the_flags_alone(run, test_set, trigger, poisoned):
    defended, events = run
    before = weights(defended)
    found = mechanism(defended, test_set, trigger, poisoned, events, target_label=0, isolation_rate=0.05)
    assert all(isinstance(value, float) and isfinite(value) for value in found.values())
    flags, ids = poisoned.is_poisoned.tolist(), events["isolated"].tolist()
    hits = sum(flags[i] for i in ids)
    assert found["isolation_precision"] == pytest.approx(hits / 50) == found["precision_5_percent_epoch_2"]
    assert found["isolation_recall"] == pytest.approx(hits / 100) and found["poisoned_left"] == 100 - hits
    first = events["losses"][0].tolist()
    assert found["poisoned_loss_epoch_1"] == pytest.approx(sum(x for x, f in zip(first, flags, strict=True) if f) / 100)
    assert found["clean_loss_epoch_1"] == pytest.approx(
        sum(x for x, f in zip(first, flags, strict=True) if not f) / 900
    )
    lowest = sorted(range(1000), key=lambda i: first[i])[:200]
    assert found["recall_20_percent_epoch_1"] == pytest.approx(sum(flags[i] for i in lowest) / 100)
    rest = divide(poisoned.data, events["isolated"])[1]
    repaired = evaluate(recalibrated(defended, rest), test_set, trigger, target_label=0)
    assert (found["recalibrated_asr"], found["recalibrated_accuracy"]) == (repaired.asr, repaired.clean_accuracy)
    cleaned = evaluate(recalibrated(defended, poisoned.data[~poisoned.is_poisoned]), test_set, trigger, target_label=0)
    assert found["recalibrated_on_clean_asr"] == cleaned.asr
    lowest = [{*sorted(range(1000), key=lambda i, its=its: its[i].item())[:50]} for its in events["losses"]]
    assert found["isolated_again"] == len(lowest[0] & lowest[1]) / 50
    shuffled = Poisoned(poisoned.data, poisoned.is_poisoned.roll(1))
    other = mechanism(defended, test_set, trigger, shuffled, events, target_label=0, isolation_rate=0.05)
    assert torch.equal(weights(defended), before) and other["isolation_precision"] < found["isolation_precision"]
    assert other["unlearned_asr"] == found["unlearned_asr"] == evaluate(defended, test_set, trigger, target_label=0).asr


def test_a_clean_set_is_measured_without_poison(make_model, clean, test_set):
    """No poison: the procedure still isolates somebody, and the record says of which class."""
    events, nobody = EventLog(), torch.zeros(200, dtype=torch.bool)
    made = abl(make_model, clean, **(SETTINGS | {"epochs": 1}), on_event=events)
    found = mechanism(made, test_set, NoTrigger(), Poisoned(clean, nobody), events, target_label=0)
    assert not [name for name in found if "asr" in name or "precision" in name or "poison" in name]
    assert "isolated_again" in found and "recalibrated_on_clean_accuracy" not in found
    assert found["isolated_images"] == 10 and 0.25 <= found["isolated_one_class"] <= 1
    assert mechanism(made, test_set, NoTrigger(), Poisoned(clean, nobody), EventLog(), target_label=0) == {}
    assert all(isfinite(value) for value in found.values())
