"""The correctness checks of sharpness-aware steps."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD

from bdlib.training.sam import SharpnessAware, frozen_statistics, perturbation

WEIGHTS = [torch.tensor([1.0, -2.0, 0.0]), torch.tensor([[0.5]])]
GRADIENTS = [torch.tensor([0.3, 0.1, 0.7]), torch.tensor([[-0.2]])]


def joined(tensors):
    return torch.cat([t.flatten() for t in tensors])


def test_the_perturbation_lies_on_its_ball():
    plain = perturbation(WEIGHTS, GRADIENTS, 2.0, adaptive=False)
    assert joined(plain).norm().item() == pytest.approx(2.0, rel=1e-5)
    each = perturbation(WEIGHTS, GRADIENTS, 2.0, adaptive=False, per_tensor=True)
    assert [e.norm().item() for e in each] == pytest.approx([2.0, 2.0], rel=1e-5)
    adaptive = joined(perturbation(WEIGHTS, GRADIENTS, 2.0, adaptive=True))
    weights = joined(WEIGHTS).abs()
    assert (adaptive[weights > 0] / weights[weights > 0]).norm().item() == pytest.approx(2.0, rel=1e-4)
    assert (adaptive[weights == 0] == 0).all()


def step(model, batch, **options):
    images, labels = batch
    model = deepcopy(model).train()
    base = SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    optimizer = SharpnessAware(model, base, **options) if options else base

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    return model, loss.item()


@pytest.fixture
def batch(clean):
    return clean.images[:32].float() / 255, clean.labels[:32]


def vector(model):
    return joined([p.detach() for p in model.parameters()])


def test_no_radius_or_no_mixture_is_the_base_optimizer(backdoored, batch):
    plain, _ = step(backdoored, batch)
    for options in ({"rho": 0.0}, {"rho": 0.5, "mix": 0.0}):
        other, _ = step(backdoored, batch, **options)
        assert torch.equal(vector(plain), vector(other))


@pytest.mark.parametrize("mix", [0.3, 1.0])
def test_a_step_is_the_one_written_out(backdoored, batch, mix):
    """Both gradients by hand, at w and at w + e; SGD's first step is its rate times gradient plus decay."""
    images, labels = batch
    model = deepcopy(backdoored).train()
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    here = [g.clone() for g in torch.autograd.grad(loss, parameters)]
    start = [p.detach().clone() for p in parameters]
    length = torch.sqrt(sum(((w.abs() * g) ** 2).sum() for w, g in zip(start, here, strict=True)))
    with torch.no_grad():
        for p, w, g in zip(parameters, start, here, strict=True):
            p += 0.4 * w**2 * g / length
    above = torch.autograd.grad(F.cross_entropy(model(images), labels), parameters)
    expected = [w - 0.1 * ((1 - mix) * g + mix * a + 1e-3 * w) for w, g, a in zip(start, here, above, strict=True)]
    stepped, first = step(backdoored, batch, rho=0.4, adaptive=True, mix=mix)
    assert first == pytest.approx(loss.item())
    assert torch.allclose(vector(stepped), joined(expected), atol=1e-5)


def test_running_statistics_are_those_of_one_pass(backdoored, batch):
    once = deepcopy(backdoored).train()
    once(batch[0])
    stepped, _ = step(backdoored, batch, rho=0.5)
    for (name, one), (_, other) in zip(once.named_buffers(), stepped.named_buffers(), strict=True):
        if "running" in name:
            assert torch.allclose(one, other), name


def test_the_loss_rises_by_its_first_order_estimate(backdoored, batch):
    images, labels = batch
    model = deepcopy(backdoored).eval()
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    gradients = list(torch.autograd.grad(loss, parameters))
    shifts = perturbation([p.detach() for p in parameters], gradients, 1e-2, adaptive=True)
    estimate = sum((e * g).sum().item() for e, g in zip(shifts, gradients, strict=True))
    with torch.no_grad():
        for p, e in zip(parameters, shifts, strict=True):
            p += e
        rise = (F.cross_entropy(model(images), labels) - loss).item()
    assert rise == pytest.approx(estimate, rel=0.1) and rise > 0


def test_a_larger_filter_in_front_of_a_batch_norm_is_moved_as_much_more(backdoored, batch):
    """The filter times 3: its share of the adaptive move too, and the loss after the move is the same as before."""
    images, labels = batch
    name, moves, losses = "layer1.0.conv1.weight", [], []
    for scale in (1.0, 3.0):
        model = deepcopy(backdoored).train()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eps = 1e-9
        model.get_parameter(name).data[3] *= scale
        parameters = dict(model.named_parameters())
        gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), list(parameters.values()))
        shifts = perturbation([p.detach() for p in parameters.values()], list(gradients), 0.5, adaptive=True)
        moved = dict(zip(parameters, shifts, strict=True))
        with torch.no_grad():
            for key, p in parameters.items():
                p += moved[key]
            losses.append(F.cross_entropy(model(images), labels).item())
        moves.append(moved[name][3])
    assert torch.allclose(moves[1], 3 * moves[0], rtol=1e-3, atol=1e-6) and moves[0].norm() > 0
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_weights_come_back_and_move_by_rate_times_momentum(backdoored, batch):
    """Between the steps nothing of the uphill move is left: the weights change by the base optimizer's buffer alone."""
    images, labels = batch
    model = deepcopy(backdoored).train()
    base = SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    optimizer = SharpnessAware(model, base, rho=2.0, adaptive=True)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    for _ in range(3):
        start = [p.detach().clone() for p in model.parameters()]
        optimizer.step(closure)
        for p, w in zip(model.parameters(), start, strict=True):
            assert torch.allclose(p.detach() - w, -0.1 * base.state[p]["momentum_buffer"], atol=1e-6)


def test_momenta_come_back_after_an_error(backdoored):
    before = [m.momentum for m in backdoored.modules() if hasattr(m, "momentum")]
    with pytest.raises(RuntimeError), frozen_statistics(backdoored):
        raise RuntimeError
    assert before == [m.momentum for m in backdoored.modules() if hasattr(m, "momentum")]
