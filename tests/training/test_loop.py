from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD
from toy_task import STATISTICS, toy

from bdlib import runtime
from bdlib.checks import ParameterError
from bdlib.data.images import batches
from bdlib.models import predict, sample_losses, seeded, small_resnet
from bdlib.runtime import set_up_compiler
from bdlib.training.loop import Schedule, cross_entropy, steps, train
from bdlib.types import EventLog


def fresh():
    return seeded(lambda: small_resnet(3, 4, *STATISTICS), seed=0)


def test_the_loop_is_plain_gradient_descent():
    """Step for step what a loop written out by hand does."""
    data, schedule = toy(96, 0), Schedule(2, 0.1, anneal="constant", batch_size=32, augmentation=2, weight_decay=0.0)
    ours, theirs = train(fresh(), data, schedule), fresh().train().to(memory_format=torch.channels_last)
    optimizer = SGD(theirs.parameters(), 0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for batch in batches(data, 32, augmentation=2, generator=generator):
            optimizer.zero_grad()
            F.cross_entropy(theirs(batch.images), batch.labels).backward()
            optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_learning_rates():
    constant = Schedule(10, 0.1, anneal="constant", milestones=(2, 5))
    assert [round(constant.rate(10 * epoch, 10), 6) for epoch in (0, 1, 2, 4, 5, 9)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    cosine = [Schedule(10, 0.1).rate(step, 10) for step in range(100)]
    assert cosine[0] == 1 and cosine[50] == pytest.approx(0.5) and sorted(cosine, reverse=True) == cosine
    one_cycle = [Schedule(10, 0.1, anneal="one_cycle").rate(step, 10) for step in range(100)]
    assert one_cycle[0] == 0 and max(one_cycle) == one_cycle[30] == 1 and one_cycle[99] < 0.02


def test_equal_seeds_give_equal_weights_and_others_do_not():
    data = toy(64, 0)
    one, two, three = (train(fresh(), data, Schedule(1, 0.1, batch_size=32, seed=s)) for s in (0, 0, 1))
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, three)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_loss_that_is_not_finite_stops_training():
    with pytest.raises(FloatingPointError, match="nan after epoch 0"):
        train(
            fresh(), toy(32, 0), Schedule(3, 0.1), loss_fn=lambda model, batch: model(batch.images).sum() * float("nan")
        )


def test_an_optimizer_of_its_own_trains_only_what_it_holds():
    model = fresh()
    kept = deepcopy(model.get_parameter("stem.weight"))
    head = model.get_parameter("head.weight")
    before = head.clone()
    train(model, toy(64, 0), Schedule(1, 0.1), optimizer=SGD([head], 0.1))
    assert torch.equal(model.get_parameter("stem.weight"), kept) and not torch.equal(head, before)


def test_every_epoch_is_told_with_its_mean_loss():
    told = []
    train(
        fresh(), toy(64, 0), Schedule(3, 0.05, batch_size=32), on_event=lambda name, epoch: told.append((name, epoch))
    )
    assert [(name, epoch.number) for name, epoch in told] == [("epoch", 0), ("epoch", 1), ("epoch", 2)]
    assert all(epoch.mean_loss > 0 for _, epoch in told)


def test_break_ends_the_loop_and_leaves_the_model_in_evaluation_mode():
    model, taken = fresh(), 0
    for batch, step in steps(model, toy(96, 0), Schedule(3, 0.05, batch_size=32)):
        assert model.training
        step(lambda: cross_entropy(model, batch))
        taken += 1
        if step.number == 3:
            break
    assert taken == 4 and not model.training


def test_the_last_step_of_an_epoch_knows_its_mean_loss():
    model, losses, means = fresh(), [], []
    for batch, step in steps(model, toy(80, 0), Schedule(2, 0.05, batch_size=32)):
        losses.append(step(lambda: cross_entropy(model, batch)).item())
        if step.ends_epoch:
            means.append(step.mean_loss)
    assert means == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3])


def test_a_seed_for_each_epoch_is_that_of_training_one_epoch_at_a_time():
    data, schedule = toy(96, 0), Schedule(3, 0.05, "constant", batch_size=32, augmentation=2, seed=5)
    once, restarted = fresh(), fresh()
    train(once, data, replace(schedule, seed_per_epoch=True))
    optimizer = schedule.sgd(restarted.parameters())
    for epoch in range(3):
        train(restarted, data, replace(schedule, epochs=1, seed=5 * 3 + epoch), optimizer=optimizer)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), restarted.parameters(), strict=True))


def test_gradients_may_be_changed_before_the_update():
    model = fresh()
    before = deepcopy(model.state_dict())

    def stop():
        for p in model.parameters():
            p.grad = None

    for batch, step in steps(model, toy(64, 0), Schedule(1, 0.1, batch_size=32)):
        step(lambda: cross_entropy(model, batch), before_update=stop)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_training_on_nothing_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^data: the set of images is empty$"):
        train(fresh(), toy(0, 0), Schedule(1, 0.1))


def test_an_event_log_remembers_the_last_value_and_counts():
    log = EventLog()
    train(fresh(), toy(64, 0), Schedule(3, 0.05, batch_size=32), on_event=log)
    assert log.counts == {"epoch": 3} and log["epoch"].number == 2


def test_compiled_training_takes_the_same_steps(monkeypatch):
    """torch.compile's tracing is used; its slow native code generation is left out here."""
    native = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: native(model, backend="aot_eager"))
    eager, compiled = (train(fresh(), toy(64, 0), Schedule(1, 0.05, batch_size=32), compiled=c) for c in (False, True))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(eager.parameters(), compiled.parameters(), strict=True))


def test_every_batch_size_has_a_graph_of_its_own_and_equal_networks_share_them(monkeypatch):
    shapes = []

    def backend(graph, inputs):
        shapes.append({size for value in inputs if isinstance(value, torch.Tensor) for size in value.shape})
        return graph.forward

    native = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: native(model, backend=backend))
    monkeypatch.setattr("torch._dynamo.config.automatic_dynamic_shapes", True)  # both are put back after the test
    monkeypatch.setattr("torch._dynamo.config.cache_size_limit", 8)
    set_up_compiler.__wrapped__()
    for _ in range(2):
        train(fresh(), toy(41, 0), Schedule(2, 0.05, batch_size=24), compiled=True)
    assert all(type(size) is int for sizes in shapes for size in sizes)
    assert [{24, 17} & sizes for sizes in shapes] == [{24}, {17}]


class Rows(nn.Module):
    """A network that keeps to one row an image only in small batches, only in larger ones, or only in evaluation."""

    def __init__(self, change):
        super().__init__()
        self.net, self.change = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)), change

    def forward(self, images):
        return self.change(self.net(images), self.training)


@pytest.mark.parametrize(("change", "count"), [
    (lambda logits, training: logits[:5], 24),  # drops rows
    (lambda logits, training: logits if len(logits) < 3 else logits.mean(0, keepdim=True), 24),  # would be broadcast
    (lambda logits, training: torch.cat([logits, logits[5:]]), 24),
    (lambda logits, training: logits.squeeze(0), 17),  # one image is left for the last batch
])  # fmt: skip
def test_a_network_without_a_row_for_each_image_is_one_line(change, count):
    data, rule = toy(count, 0), r"\Amodel: must give logits of shape \(n, classes\); for \d+ images? it gives [^\n]*\Z"
    for use in (lambda m: train(m, data, Schedule(1, 0.1, batch_size=8)), lambda m: predict(m, data, batch_size=8),
                lambda m: sample_losses(m, data, batch_size=8)):  # fmt: skip
        with pytest.raises(ParameterError, match=rule):
            use(Rows(change))


def test_a_network_with_other_outputs_in_training_is_one_line():
    model = Rows(lambda logits, training: (logits, logits) if training else logits)
    with pytest.raises(ParameterError, match=r"\Amodel: must give logits of shape \(n, classes\); for 8 images"):
        train(model, toy(24, 0), Schedule(1, 0.1, batch_size=8))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_network_is_refused():
    model = torch.jit.trace(Rows(lambda logits, training: logits).eval(), torch.rand(2, 3, 16, 16))
    for use in (lambda: predict(model, toy(8, 0)), lambda: train(model, toy(8, 0), Schedule(1, 0.1))):
        with pytest.raises(ParameterError, match=r"\Amodel: is a TorchScript network, [^\n]*\Z"):
            use()


@pytest.mark.parametrize(("precision", "half"), [("default", False), ("float32", False), ("bfloat16", True)])
def test_a_cpu_computes_losses_in_bfloat16_if_it_is_asked_to_and_keeps_weights_in_single(monkeypatch, precision, half):
    monkeypatch.setattr(runtime, "PRECISION", precision)
    model, data, computed = fresh(), toy(32, 0), set()

    def loss(batch):
        logits = model(batch.images)
        computed.add(logits.dtype)
        return F.cross_entropy(logits, batch.labels)

    for batch, step in steps(model, data, Schedule(1, 0.1, batch_size=16, augmentation=None)):
        step(lambda: loss(batch))
    assert computed == {torch.bfloat16 if half else torch.float32}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert runtime.runtime_facts()["precision"] == ("bfloat16" if half else "float32")
